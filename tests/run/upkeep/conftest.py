import pytest

from tests.run.upkeep.toy_run import begin, evolve


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


@pytest.fixture
def store(storage):
    """A toy run of twelve generations, to be damaged."""
    store = begin(storage)
    evolve(store, 12)
    return store


@pytest.fixture
def root(store, tmp_path):
    """Its folder."""
    return tmp_path / "runs" / "toy"
