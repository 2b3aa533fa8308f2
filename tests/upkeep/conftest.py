import uuid

import pytest

from tests.s3.server import create_bucket, environment, moto_server
from tests.upkeep.toy_run import begin, evolve


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


@pytest.fixture(scope="module")
def s3_port():
    with moto_server() as port:
        yield port


@pytest.fixture
def bucket(s3_port, monkeypatch):
    """The URL of an empty bucket."""
    for name, value in environment(s3_port).items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    create_bucket(s3_port, name)
    return f"s3://{name}/runs"
