"""`make up` for real: a server, its database, a worker, and runs that are triggered, queued and cancelled."""

import re
import time

import docker
import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterStateType
from prefect.client.schemas.filters import FlowRunFilterState as State
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling

from cycleqd.events import parse
from tests.live_prefect import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CANCEL_SECONDS = 15


def test_started_again_it_finds_everything_running(live_prefect):
    text = live_prefect.up()
    assert "server runs" in text
    assert "worker runs" in text
    assert f"UI: {live_prefect.url}" in text


def test_schedules_are_off_at_first_and_stay_as_people_set_them(live_prefect):
    with live_prefect.client() as client:
        found = {each.name: each for each in client.read_deployments()}
        assert {name for name, each in found.items() if each.schedules} == {"rerun", "resume-unfinished"}
        rerun = found["rerun"]
        assert not rerun.schedules[0].active
        client.update_deployment_schedule(rerun.id, rerun.schedules[0].id, active=True)
        live_prefect.up()
        again = {each.name: each for each in client.read_deployments()}
        assert again["rerun"].schedules[0].active
        assert not again["resume-unfinished"].schedules[0].active

        def scheduled():
            return client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    deployment_id=FlowRunFilterDeploymentId(any_=[rerun.id]),
                    state=State(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                )
            )

        # With SQLAlchemy 2.1 none would ever appear.
        assert wait_for(scheduled, seconds=120)
        client.update_deployment_schedule(rerun.id, rerun.schedules[0].id, active=False)


def test_a_bad_value_is_refused_with_the_path_of_its_field(live_prefect):
    wrong = live_prefect.configuration("wrong", experts={"rank": 0})
    with pytest.raises(PrefectHTTPStatusError, match=r"config\.experts\.rank"):
        live_prefect.start("cycleqd/cycleqd", {"config": wrong})


def test_a_fault_between_fields_ends_the_run_at_once(live_prefect):
    wrong = live_prefect.configuration("crossed", sampling={"alpha_low": 0.9, "alpha_high": 0.1})
    run = live_prefect.start("cycleqd/cycleqd", {"config": wrong})
    state = wait_for(lambda: (state := live_prefect.state(run)).is_final() and state, seconds=90)
    assert state.is_failed()
    # A flow run's last lines reach the server after its state.
    wait_for(lambda: "config.sampling" in live_prefect.logs(run), seconds=30)
    assert "alpha_low must not exceed alpha_high" in live_prefect.logs(run)
    assert not (live_prefect.folder / "runs" / "crossed").exists()


def test_two_runs_queue_for_the_engine_and_a_cancelled_one_makes_way(live_prefect):
    def containers(run_id):
        return docker.from_env().containers.list(all=True, filters={"label": f"cycleqd.run={run_id}"})

    first = live_prefect.start(
        "cycleqd/cycleqd", {"config": live_prefect.configuration("endless", generations=10_000)}
    )
    records = live_prefect.folder / "runs" / "endless" / "generations"
    wait_for(lambda: list(records.glob("*.json")), seconds=240)
    second = live_prefect.start("cycleqd/cycleqd", {"config": live_prefect.configuration("patient")})
    wait_for(lambda: "waiting for the engine" in live_prefect.logs(second), seconds=90)
    time.sleep(3)
    assert "holding" not in live_prefect.logs(second)

    with live_prefect.client() as client:
        client.set_flow_run_state(first, Cancelling())
    began = time.monotonic()
    lease = live_prefect.folder / "runs" / "endless" / "lease.json"
    wait_for(lambda: not lease.exists() and not containers("endless"), seconds=60)
    assert time.monotonic() - began < CANCEL_SECONDS
    # The worker says so later: at its first cancellation it loads the flow to look for hooks.
    wait_for(lambda: live_prefect.state(first).is_cancelled(), seconds=120)
    logs = _evolution_logs(live_prefect)
    assert re.search(r"generation \d+ of 10000", logs)
    committed = [parse(entry) for entry in logs.splitlines() if entry.startswith("event=generation_committed")]
    assert [each["generation"] for each in committed] == [str(number) for number in range(len(committed))]
    assert committed

    state = wait_for(lambda: (state := live_prefect.state(second)).is_final() and state, seconds=300)
    assert state.is_completed(), state.message
    assert (live_prefect.folder / "runs" / "patient" / "report" / "index.html").exists()
    assert containers("patient") == []

    with live_prefect.client() as client:
        limits = {limit.name: limit for limit in client.read_global_concurrency_limits(limit=50, offset=0)}
    assert limits["cycleqd-engine-tests"].active_slots == 0
    assert limits["cycleqd-sandboxes-tests"].active_slots == 0


def _evolution_logs(live):
    from prefect.client.schemas.filters import FlowRunFilterName

    with live.client() as client:
        (evolution,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["evolve endless"]))
        )
    return live.logs(evolution.id)
