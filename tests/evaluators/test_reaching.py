"""Whether a cluster is there and lets this machine in is said at the start, and soon."""

import importlib.util
import socket

import pytest

from cycleqd.config import RunConfig
from cycleqd.evaluators.reaching import reach
from cycleqd.preflight.checks import _evaluators
from tests.processes import processes_with

KINDS = ("dask", "ray")


@pytest.fixture(params=KINDS)
def kind(request):
    package = {"dask": "distributed", "ray": "ray"}[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"pip install 'cycleqd[{request.param}]'")
    return request.param


@pytest.fixture
def silent():
    """The port of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def found(kind, address, tiny_tied):
    values = {"evaluators": {"kind": kind, "address": address}, "model": {"name": str(tiny_tied)}}
    return _evaluators(RunConfig.model_validate(values))


def test_where_nobody_listens_the_preflight_says_so_at_once(kind, tiny_tied):
    check = found(kind, "127.0.0.1:9", tiny_tied)
    assert not check.ok
    assert check.detail.startswith(f"evaluators.address: no {kind.capitalize()} cluster answers at 127.0.0.1:9: ")


def test_whoever_does_not_let_us_in_is_waited_for_so_long_and_no_longer(kind, silent, monkeypatch, tmp_path):
    monkeypatch.setenv("CYCLEQD_TEST", str(tmp_path))
    told = "check the address" + {"dask": "$", "ray": ", and RAY_AUTH_MODE and RAY_AUTH_TOKEN"}[kind]
    with pytest.raises(ConnectionError, match=f"at 127.0.0.1:{silent} within 2 s: {told}"):
        reach(kind, f"127.0.0.1:{silent}", seconds=2)
    assert processes_with("CYCLEQD_TEST", str(tmp_path)) == []


def test_of_a_cluster_that_lets_us_in_the_preflight_says_how_large_it_is(tiny_tied):
    distributed = pytest.importorskip("distributed", reason="pip install 'cycleqd[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None,
                                  protocol="tcp", host="127.0.0.1") as cluster:  # fmt: skip
        check = found("dask", cluster.scheduler_address, tiny_tied)
    assert check[:3] == ("evaluators", True, f"1 by dask at {cluster.scheduler_address}: 2 worker(s)")
