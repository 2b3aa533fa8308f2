from collections.abc import Iterator

import pytest

from cycleqd.sandbox import Sandboxes


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[Sandboxes]:
    with Sandboxes(run_id="test-contracts", max_containers=4) as pool:
        yield pool
