"""`make up` for real: a server, its database, a worker, and runs that are triggered, queued and cancelled."""

import asyncio
import re
import time
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import docker
import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterStateType
from prefect.client.schemas.filters import FlowRunFilterState as State
from prefect.client.schemas.objects import StateType
from prefect.events import AutomationCore, Event, RelatedResource, Resource
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelling, Running, Suspended

from cycleqd.config import RunConfig
from cycleqd.report.unfinished import is_finished, unfinished_runs
from cycleqd.run.store import RunStore
from cycleqd.telemetry.events import parse
from deployments import register
from deployments.register import FAILURES, VANISHED, vanished_runs
from tasks.lineage import asset_key
from tests.live_prefect import SMALLEST, wait_for
from tests.processes import processes_with

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PATIENCE = 900  # on a machine whose processors are busy; a minute or two otherwise


@pytest.fixture(scope="module")
def again(live_prefect):
    """What was scheduled before everything was started again, what that said, and what is scheduled since."""
    with live_prefect.client() as client:
        shipped = {each.name: each for each in client.read_deployments()}
        rerun = shipped["rerun"]
        client.update_deployment_schedule(rerun.id, rerun.schedules[0].id, active=True)
        text = live_prefect.up()
        since = {each.name: each for each in client.read_deployments()}
    return shipped, text, since


def test_started_again_it_finds_everything_running(live_prefect, again):
    _, text, _ = again
    assert "server runs" in text
    assert "worker runs" in text
    assert f"UI: {live_prefect.url}" in text
    assert "storage: s3://cycleqd/runs" in text


def test_limits_are_there_before_the_first_run(live_prefect):
    with live_prefect.client() as client:
        limits = {limit.name: limit.limit for limit in client.read_global_concurrency_limits(limit=50, offset=0)}
    assert limits.items() >= {"cycleqd-engine-tests": 1, "cycleqd-sandboxes-tests": 256}.items()


def test_schedules_are_off_at_first_and_stay_as_people_set_them(live_prefect, again):
    shipped, _, since = again
    assert {name for name, each in shipped.items() if each.schedules} == {"rerun", "resume-unfinished"}
    rerun = shipped["rerun"]
    assert not rerun.schedules[0].active
    assert since["rerun"].schedules[0].active
    assert not since["resume-unfinished"].schedules[0].active
    with live_prefect.client() as client:

        def scheduled():
            return client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    deployment_id=FlowRunFilterDeploymentId(any_=[rerun.id]),
                    state=State(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                )
            )

        # With SQLAlchemy 2.1 none would ever appear.
        assert wait_for(scheduled, seconds=PATIENCE)
        client.update_deployment_schedule(rerun.id, rerun.schedules[0].id, active=False)


def test_a_bad_value_is_refused_with_the_path_of_its_field(live_prefect):
    wrong = live_prefect.configuration("wrong", experts={"rank": 0})
    with pytest.raises(PrefectHTTPStatusError, match=r"config\.experts\.rank"):
        live_prefect.start("cycleqd/cycleqd", {"config": wrong})


def test_a_fault_between_fields_ends_the_run_at_once(live_prefect):
    wrong = live_prefect.configuration("crossed", sampling={"alpha_low": 0.9, "alpha_high": 0.1})
    run = live_prefect.start("cycleqd/cycleqd", {"config": wrong})
    state = wait_for(lambda: (state := live_prefect.state(run)).is_final() and state, seconds=PATIENCE)
    assert state.is_failed()
    # A flow run's last lines reach the server after its state.
    wait_for(lambda: "config.sampling" in live_prefect.logs(run), seconds=PATIENCE)
    assert "alpha_low must not exceed alpha_high" in live_prefect.logs(run)
    assert not (live_prefect.folder / "runs" / "crossed").exists()


def test_two_runs_queue_for_the_engine_and_a_cancelled_one_makes_way(live_prefect):
    def containers(run_id):
        return docker.from_env().containers.list(
            all=True, filters={"label": f"cycleqd.run={run_id}"}, ignore_removed=True
        )

    first = live_prefect.start(
        "cycleqd/cycleqd", {"config": live_prefect.configuration("endless", **SMALLEST, generations=10_000)}
    )
    records = live_prefect.folder / "runs" / "endless" / "generations"
    try:
        wait_for(lambda: list(records.glob("*.json")), seconds=PATIENCE)
        second = live_prefect.start(
            "cycleqd/cycleqd", {"config": live_prefect.configuration("patient", **SMALLEST, generations=2)}
        )
        wait_for(lambda: "waiting for the engine" in live_prefect.logs(second), seconds=PATIENCE)
        time.sleep(3)
        assert "holding" not in live_prefect.logs(second)
        state = live_prefect.state(second)
        assert (state.type, state.name) == (StateType.RUNNING, "Waiting")
        assert state.message == "waits for cycleqd-engine-tests, held by 'cycleqd endless'"
    finally:  # or it would keep the machine from all other tests
        with live_prefect.client() as client:
            client.set_flow_run_state(first, Cancelling())
    lease = live_prefect.folder / "runs" / "endless" / "lease.json"
    wait_for(lambda: not lease.exists() and not containers("endless"), seconds=PATIENCE)
    # The worker says so later: at its first cancellation it loads the flow to look for hooks.
    wait_for(lambda: live_prefect.state(first).is_cancelled(), seconds=PATIENCE)
    logs = _evolution_logs(live_prefect)
    assert re.search(r"generation \d+ of 10000", logs)
    committed = [parse(entry) for entry in logs.splitlines() if entry.startswith("event=generation_committed")]
    assert [each["generation"] for each in committed] == [str(number) for number in range(len(committed))]
    assert committed

    state = wait_for(lambda: (state := live_prefect.state(second)).is_final() and state, seconds=PATIENCE)
    assert state.is_completed(), state.message
    with live_prefect.client() as client:
        assert "holds:cycleqd-engine-tests" in client.read_flow_run(second).tags
    assert (live_prefect.folder / "runs" / "patient" / "report" / "index.html").exists()
    assert containers("patient") == []

    with live_prefect.client() as client:
        limits = {limit.name: limit for limit in client.read_global_concurrency_limits(limit=50, offset=0)}
    assert limits["cycleqd-engine-tests"].active_slots == 0
    assert limits["cycleqd-sandboxes-tests"].active_slots == 0


def test_a_finished_run_has_told_its_beginning_each_generation_and_its_end(live_prefect):
    """The one that waited and then ran to its end."""

    def told():
        wanted = {"filter": {"resource": {"id": ["cycleqd.run.patient"]}, "order": "ASC"}, "limit": 50}
        answer = httpx.post(f"{live_prefect.url}/api/events/filter", json=wanted)
        return [Event.model_validate(each) for each in answer.raise_for_status().json()["events"]]

    wait_for(lambda: any(event.event == "cycleqd.run.finished" for event in told()), seconds=PATIENCE)
    events = told()
    assert [event.event.removeprefix("cycleqd.") for event in events] == [
        "run.started", *["expert.trained"] * 3, *["generation.committed"] * 2, "run.finished",
    ]  # fmt: skip
    assert [event.payload["generation"] for event in events[4:6]] == [0, 1]
    roles = {related.role: related for event in events[4:5] for related in event.related}
    assert roles["cycleqd-individual"].id == "cycleqd.run.patient.g0000"
    assert roles["flow-run"].id.startswith("prefect.flow-run.")
    assert events[-1].payload["report"].endswith("patient/report/index.html")


def test_the_server_has_what_a_run_made_of_what_and_by_which_task(live_prefect, monkeypatch):
    monkeypatch.setenv("CYCLEQD_MACHINE", "tests")
    key = asset_key(RunStore(str(live_prefect.folder / "runs"), "patient").url("experts/os"))
    wanted = {"filter": {"resource": {"id": [key]}, "event": {"name": ["prefect.asset.materialization.succeeded"]}}}

    def told():
        answer = httpx.post(f"{live_prefect.url}/api/events/filter", json=wanted)
        return answer.raise_for_status().json()["events"]

    (event,) = wait_for(told, seconds=PATIENCE)
    assert event["payload"].items() >= {"run": "patient", "steps": 1}.items()
    roles = {one["prefect.resource.role"]: one["prefect.resource.id"] for one in event["related"]}
    assert roles.keys() >= {"asset", "asset-materialized-by", "flow-run", "task-run"}
    assert roles["asset-materialized-by"] == "cycleqd"


def test_what_was_left_unfinished_in_the_object_store_is_continued(live_prefect, monkeypatch):
    for name, value in _shell_settings(live_prefect.folder / "state" / "object-store.env").items():
        monkeypatch.setenv(name, value)
    storage = "s3://cycleqd/runs"
    config = RunConfig.model_validate(live_prefect.configuration("begun", **SMALLEST, storage=storage))
    store = RunStore(storage, "begun")
    store.open(config)
    state = _ended(live_prefect, live_prefect.start("resume-unfinished/resume-unfinished", {"storage": storage}))
    assert state.is_completed(), state.message
    assert is_finished(store)
    assert list(unfinished_runs(storage)) == []


def test_a_rerun_is_a_run_of_its_own_named_after_its_time(live_prefect):
    run = live_prefect.start("rerun/rerun", {"config": live_prefect.configuration("weekly", **SMALLEST)})
    state = _ended(live_prefect, run)
    assert state.is_completed(), state.message
    with live_prefect.client() as client:
        moment = client.read_flow_run(run).expected_start_time.strftime("%Y%m%d-%H%M")
    (made,) = (live_prefect.folder / "runs").glob("weekly*")
    assert made.name == f"weekly-{moment}"
    assert (made / "report" / "index.html").exists()


def test_a_run_whose_heartbeats_stop_is_marked_crashed_by_the_automation(live_prefect):
    async def shortened():
        # Like the one that is registered, but of the least patience: real heartbeats are 30 s apart.
        async with PrefectClient(f"{live_prefect.url}/api") as client:
            assert VANISHED in {each.name for each in await client.read_automations()}
            short = vanished_runs("cycleqd: tests", timedelta(seconds=10))
            return await client.create_automation(AutomationCore(**short.model_dump(exclude={"id"})))

    automation = asyncio.run(shortened())
    try:
        with live_prefect.client() as client:
            deployment = client.read_deployment_by_name("evolve/evolve")
            run, others, asleep = (
                client.create_flow_run_from_deployment(
                    deployment.id, parameters={"run": {"run_id": "nobody"}}, state=Running(), name=name
                )
                for name in ("vanished", "of somebody else's flow", "suspended")
            )
        flows = ((asleep, "evolve"), (run, "evolve"), (others, "nightly-etl"))
        beats = [_beat(each, flow).model_dump(mode="json") for each, flow in flows]
        httpx.post(f"{live_prefect.url}/api/events", json=beats).raise_for_status()
        with live_prefect.client() as client:
            client.set_flow_run_state(asleep.id, Suspended(timeout_seconds=3600))
        state = wait_for(lambda: (state := live_prefect.state(run.id)).is_final() and state, seconds=PATIENCE)
        assert state.is_crashed()
        assert state.message == "no heartbeat for 10 s"
        assert live_prefect.state(others.id).is_running()
        assert live_prefect.state(asleep.id).name == "Suspended"
    finally:
        httpx.delete(f"{live_prefect.url}/api/automations/{automation}").raise_for_status()


def test_a_run_that_fails_reaches_the_notification_that_somebody_made(live_prefect, monkeypatch, capsys):
    with _mailbox() as (address, letters):
        webhook = {"name": "tests", "url": address, "method": "POST", "json_data": {"text": "{{subject}}\n{{body}}"}}
        with temporary_settings({PREFECT_API_URL: f"{live_prefect.url}/api"}):
            CustomWebhookNotificationBlock(**webhook).save("tests", overwrite=True)
            # The flows are registered; doing that again takes ten times as long as all the rest.
            monkeypatch.setattr(register, "deploy", lambda declaration: None)
            monkeypatch.setenv("CYCLEQD_MACHINE", "tests")
            register.main(["--notify", "custom-webhook/tests"])
        assert f"automation {FAILURES!r} tells custom-webhook/tests" in capsys.readouterr().out
        values = live_prefect.configuration("unlucky", model={"name": str(live_prefect.folder / "no-such-model")})
        state = _ended(live_prefect, live_prefect.start("cycleqd/cycleqd", {"config": values}))
        assert state.is_failed()
        wait_for(lambda: letters, seconds=PATIENCE)
    assert "CycleQD: a run failed" in letters[0]
    assert "Run unlucky" in letters[0]
    assert "no-such-model" in letters[0]


def test_a_failed_run_that_is_retried_goes_on_where_it_was(live_prefect):
    """As *Retry* in the UI asks for it; the storage did not take the first generation."""
    folder = live_prefect.folder / "runs" / "retried"
    in_the_way = folder / "generations" / "00000.json"
    in_the_way.mkdir(parents=True)
    run = live_prefect.start("cycleqd/cycleqd", {"config": live_prefect.configuration("retried", **SMALLEST)})
    state = _ended(live_prefect, run)
    assert state.is_failed(), state.message
    made = {file: file.stat().st_mtime_ns for file in folder.glob("experts/*/model/*")}
    assert len(made) == 6
    in_the_way.rmdir()
    # Prefect marks a run that is retried before that as crashed, by the exit status of the process that failed.
    wait_for(lambda: not processes_with("PREFECT__FLOW_RUN_ID", str(run)), seconds=PATIENCE)
    time.sleep(5)
    with live_prefect.client() as client:
        client.set_flow_run_state(run, AwaitingRetry())
    state = _ended(live_prefect, run)
    assert state.is_completed(), state.message
    assert {file: file.stat().st_mtime_ns for file in made} == made
    assert in_the_way.is_file()
    assert (folder / "report" / "index.html").exists()


@contextmanager
def _mailbox():
    """An address of this machine, and what was sent there."""
    letters = []

    class Mailbox(BaseHTTPRequestHandler):
        def do_POST(self):
            letters.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Mailbox) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", letters
        server.shutdown()


def _beat(run, flow):
    """A heartbeat as Prefect sends it."""
    return Event(
        event="prefect.flow-run.heartbeat",
        resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run.id}"}),
        related=[
            RelatedResource(
                {
                    "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": flow,
                }
            )
        ],
    )


def _ended(live, run):
    return wait_for(lambda: (state := live.state(run)).is_final() and state, seconds=PATIENCE, every=1)


def _shell_settings(file):
    return dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())


def _evolution_logs(live):
    from prefect.client.schemas.filters import FlowRunFilterName

    with live.client() as client:
        (evolution,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["evolve endless"]))
        )
    return live.logs(evolution.id)
