"""Marks what a vanished process left Running on the Prefect server.

A flow run whose process was killed together with its worker stays Running: nobody is left to say otherwise. Whoever
holds the lease of the run knows better: there is no other writer, so these flow runs are of the dead.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed

from tasks.reruns import RERUN, rerun_id
from tasks.server import has_server

_STILL_RUNNING: dict[str, Any] = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}, "name": None}}
_PENDING_SECONDS = 60
"""A flow run that was Pending for so long was to be started by a worker that is gone."""
_PAGE = 200
"""The most that a server lists at a time."""


def mark_vanished(storage: str, run_id: str) -> list[str]:
    """Marks flow runs of a run that are shown as Running, but this one's and its family, as Crashed.

    Does nothing without a long-lived server.

    Args:
        storage: Where the run lies; runs of the same name elsewhere are left alone.
        run_id: A run whose lease this process holds.

    Returns:
        Names of the flow runs that were marked.
    """
    if not has_server():
        return []
    message = f"its process vanished: the lease of run {run_id} was free"
    marked = []
    with get_client(sync_client=True) as client:
        family = _family(client)
        reruns = _reruns(client)
        for run in _flow_runs(client, FlowRunFilter.model_validate(_STILL_RUNNING)):
            worked_on = _worked_on(run, is_rerun=run.flow_id in reruns)
            if run.id in family or worked_on != (storage, run_id) or not _has_vanished(run):
                continue
            _crash_tasks(client, run, message)
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            marked.append(run.name)
    return marked


def _flow_runs(client: SyncPrefectClient, wanted: FlowRunFilter) -> list[FlowRun]:
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _reruns(client: SyncPrefectClient) -> set[UUID]:
    """The flow whose runs work on a run that is named after their time."""
    found = client.read_flows(flow_filter=FlowFilter.model_validate({"name": {"any_": [RERUN]}}))
    return {flow.id for flow in found}


def _worked_on(run: FlowRun, *, is_rerun: bool) -> tuple[Any, Any]:
    """(storage, id) of the run that a flow run works on, by its parameters."""
    config = run.parameters.get("config")
    given = config if isinstance(config, dict) else run.parameters
    run_id = given.get("run_id")
    if is_rerun and run_id and run.expected_start_time:
        run_id = rerun_id(run_id, run.expected_start_time)
    return given.get("storage", "runs"), run_id


def _has_vanished(run: FlowRun) -> bool:
    """Whether it had begun, or was to begin long ago; one that is just being started is refused by the lease."""
    if run.start_time is not None:
        return True
    return run.state is not None and datetime.now(UTC) - run.state.timestamp > timedelta(seconds=_PENDING_SECONDS)


def _family(client: SyncPrefectClient) -> set[UUID]:
    """This flow run and those above it."""
    family: set[UUID] = set()
    above = runtime.flow_run.id
    while above and UUID(str(above)) not in family:
        family.add(UUID(str(above)))
        task_run_id = client.read_flow_run(UUID(str(above))).parent_task_run_id
        above = client.read_task_run(task_run_id).flow_run_id if task_run_id else None
    return family


def _crash_tasks(client: SyncPrefectClient, run: FlowRun, message: str) -> None:
    running = TaskRunFilter.model_validate(_STILL_RUNNING)
    of_run = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
    for task_run in client.read_task_runs(flow_run_filter=of_run, task_run_filter=running, limit=_PAGE):
        client.set_task_run_state(task_run.id, Crashed(message=message), force=True)
