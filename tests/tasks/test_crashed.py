from datetime import UTC, datetime

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running, Scheduled

from cycleqd.config import load_config
from cycleqd.run.names import RunRef
from tasks import crashed
from tasks.crashed import mark_vanished

pytestmark = pytest.mark.usefixtures("prefect_harness")


@flow(name="evolve", flow_run_name="evolve {run.run_id}")
def evolve(run: RunRef):
    return mark_vanished(run)


@flow(name="cycleqd", flow_run_name="cycleqd {config[run_id]}")
def whole(config: dict):
    return evolve(RunRef(**config))


@pytest.fixture(autouse=True)
def server(monkeypatch):
    monkeypatch.setattr(crashed, "has_server", lambda: True)


@flow(name="rerun", flow_run_name="rerun {config[run_id]}")
def rerun(config: dict):
    pass


def left_behind(of, parameters, name, state=Running, scheduled=None):
    """A flow run whose process is gone."""
    with get_client(sync_client=True) as client:
        first = Scheduled(scheduled_time=scheduled) if scheduled else state()
        run = client.create_flow_run(of, parameters=parameters, name=name, state=first)
        if state is Running:
            client.set_flow_run_state(run.id, Running(), force=True)
        return run.id


def state_of(identifier):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(identifier).state.type.value


def test_flow_runs_of_the_same_run_are_marked_and_nobody_elses():
    dead = left_behind(evolve, {"run": {"run_id": "demo", "storage": "here"}}, "evolve demo")
    whole_dead = left_behind(whole, {"config": {"run_id": "demo", "storage": "here"}}, "cycleqd demo")
    others = [
        left_behind(evolve, {"run": {"run_id": "demo2", "storage": "here"}}, "evolve demo2"),
        left_behind(evolve, {"run": {"run_id": "demo", "storage": "elsewhere"}}, "evolve demo"),
    ]
    scheduled = left_behind(evolve, {"run": {"run_id": "demo", "storage": "here"}}, "evolve demo", Scheduled)
    marked = whole({"run_id": "demo", "storage": "here"})
    assert sorted(marked) == ["cycleqd demo", "evolve demo"]
    assert {state_of(dead), state_of(whole_dead)} == {"CRASHED"}
    assert {state_of(other) for other in others} == {"RUNNING"}
    assert state_of(scheduled) == "SCHEDULED"


def test_a_flow_run_that_no_worker_started_is_marked_after_a_minute(monkeypatch):
    parameters = {"config": {"run_id": "waiting", "storage": "here"}}
    pending = left_behind(whole, parameters, "quick-otter", Pending)
    assert whole(**parameters) == []
    monkeypatch.setattr(crashed, "_PENDING_SECONDS", 0)
    assert whole(**parameters) == ["quick-otter"]
    assert state_of(pending) == "CRASHED"


def test_a_rerun_is_of_the_run_that_is_named_after_its_time():
    base = {"config": {"run_id": "weekly", "storage": "here"}}
    moment = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    other = left_behind(rerun, base, "rerun weekly", scheduled=moment)
    assert whole(**base) == []
    assert state_of(other) == "RUNNING"
    assert whole({"run_id": "weekly-20261121-0300", "storage": "here"}) == ["rerun weekly"]
    assert state_of(other) == "CRASHED"


def test_a_flow_run_whose_run_is_named_by_a_profile_is_marked():
    dead = left_behind(whole, {"config": {"profile": "smol", "storage": "here"}}, "cycleqd smol")
    others = [
        left_behind(whole, {"config": {"profile": "of somebody else", "storage": "here"}}, "etl"),
        left_behind(whole, {"config": {"run_id": "Of Somebody Else", "storage": "here"}}, "etl"),
    ]
    assert whole({"run_id": load_config("smol").run_id, "storage": "here"}) == ["cycleqd smol"]
    assert state_of(dead) == "CRASHED"
    assert {state_of(other) for other in others} == {"RUNNING"}


def test_whoever_marks_is_not_marked(monkeypatch):
    assert whole({"run_id": "alone", "storage": "here"}) == []


def test_nothing_is_asked_without_a_long_lived_server(monkeypatch):
    monkeypatch.setattr(crashed, "has_server", lambda: False)
    monkeypatch.setattr(crashed, "get_client", lambda **options: pytest.fail("asked"))
    assert mark_vanished(RunRef(run_id="demo", storage="here")) == []
