"""The audit as a flow, under Prefect without a server."""

import pytest

from flows.audit import audit
from tests.skills.test_mbpp_plus_data import record, written

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_the_flow_returns_what_the_command_writes(prefect_harness, tmp_path):
    source = written(tmp_path / "x.jsonl", record(1001), record(1002), record(1003))
    found = audit("mbpp_plus", data=source.data, exclude=("Mbpp/1003",))
    assert (found["n"], found["oracle_passed"], found["empty_passed"], found["broken"]) == (2, 2, 0, [])
    assert [entry["id"] for entry in found["skipped"]] == ["Mbpp/1003"]
