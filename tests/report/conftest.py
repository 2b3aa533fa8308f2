from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd.report import write_report
from cycleqd.run.store import RunStore
from tests.report.synthetic import synthetic_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A finished run of three skills with its report; not to be changed."""
    store = synthetic_run(str(tmp_path_factory.mktemp("runs")), run_id="finished")
    write_report(store)
    return store


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "runs")
