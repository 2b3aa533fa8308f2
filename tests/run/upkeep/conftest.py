import shutil

import pytest

from cycleqd.run.store import RunStore
from tests.run.upkeep.toy_run import begin, evolve


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


@pytest.fixture(scope="session")
def twelve_generations(tmp_path_factory):
    """The storage of a toy run of twelve generations, which nobody may change."""
    storage = tmp_path_factory.mktemp("toy") / "runs"
    evolve(begin(str(storage)), 12)
    return storage


@pytest.fixture
def store(storage, twelve_generations):
    """A toy run of twelve generations, to be damaged."""
    shutil.copytree(twelve_generations, storage)
    return RunStore(storage, "toy")


@pytest.fixture
def root(store, tmp_path):
    """Its folder."""
    return tmp_path / "runs" / "toy"
