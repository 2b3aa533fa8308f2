"""Runs of flows and tasks are found by what they work on, and the tags cost no question to the server."""

import time

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

from cycleqd.run.names import RunRef
from tasks.tags import run_tag, tag_flow, tag_task

RUN = RunRef(run_id="mine")


@task(task_run_name="score {skill}")
def score(skill, generation=None):
    tag_task(RUN, "evaluation", skill=skill, generation=generation)
    tag_task(RUN, skill=skill)  # again, which changes nothing
    if skill == "db":
        raise ValueError("no database")


@flow
def phase():
    tag_flow(run_tag(RUN))
    tag_flow("holds:something")
    score("os", 12)
    score.submit("coding").wait()
    with pytest.raises(ValueError, match="no database"):
        score("db", 0)


@pytest.fixture
def played(prefect_harness):
    """The flow run, and its task runs by name."""
    state = phase(return_state=True)
    assert state.is_completed()
    with get_client(sync_client=True) as client:
        made = client.read_flow_run(state.state_details.flow_run_id)
        wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[made.id]))
        deadline = time.monotonic() + 60
        while True:  # what task runs are in the end reaches the server as events
            runs = client.read_task_runs(task_run_filter=wanted)
            if len(runs) == 3 and all(run.state.is_final() for run in runs):
                return made, {run.name: run for run in runs}
            assert time.monotonic() < deadline, runs
            time.sleep(0.2)


def test_flow_and_task_runs_are_tagged_with_run_skill_and_generation(played):
    made, runs = played
    assert sorted(made.tags) == ["holds:something", "run:mine"]
    assert sorted(runs["score os"].tags) == ["evaluation", "generation:12", "run:mine", "skill:os"]
    assert sorted(runs["score coding"].tags) == ["evaluation", "run:mine", "skill:coding"]
    assert sorted(runs["score db"].tags) == ["evaluation", "generation:0", "run:mine", "skill:db"]


def test_no_task_begins_with_a_tag_for_which_prefect_would_ask_for_a_slot():
    from tasks import auditing, baselines, evolution, experts, scoring, sharing

    declared = {
        name: one.tags
        for module in (auditing, baselines, evolution, experts, scoring, sharing)
        for name, one in vars(module).items()
        if hasattr(one, "task_run_name")
    }
    assert len(declared) > 10
    assert not any(declared.values()), declared


def test_outside_of_flows_nothing_is_tagged():
    tag_flow("run:mine")
    tag_task(RUN, skill="os")


def test_flow_run_that_cannot_be_tagged_goes_on(prefect_harness, monkeypatch, caplog):
    import httpx

    def dead(**options):
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr("tasks.tags.get_client", dead)

    @flow
    def lonely():
        tag_flow("run:mine")
        return "done"

    assert lonely() == "done"
    assert "could not be tagged run:mine" in caplog.text
