"""The audit as a flow, under Prefect without a server."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.audit import audit
from tests.skills.benchmarks.mbpp_plus.test_data import record, written

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_the_flow_returns_what_the_command_writes_and_takes_containers_but_no_engine(
    prefect_harness, tmp_path, monkeypatch
):
    monkeypatch.setenv("CYCLEQD_MACHINE", "audits")
    source = written(tmp_path / "x.jsonl", record(1001), record(1002), record(1003))
    found = audit("mbpp_plus", data=source.data, exclude=("Mbpp/1003",))
    assert (found["n"], found["oracle_passed"], found["empty_passed"], found["broken"]) == (2, 2, 0, [])
    assert [entry["id"] for entry in found["skipped"]] == ["Mbpp/1003"]
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["cycleqd-audit-mbpp-plus"]))
        )
        assert "| Mbpp/1003 |" in shown.data.replace("\\", "")
        limits = {limit.name for limit in client.read_global_concurrency_limits(limit=50, offset=0)}
    assert {name for name in limits if "audits" in name} == {"cycleqd-sandboxes-audits"}
