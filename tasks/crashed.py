"""Marks what a vanished process left Running on the Prefect server.

A flow run whose process was killed together with its worker stays Running: nobody is left to say otherwise. Whoever
holds the lease of the run knows better: there is no other writer, so these flow runs are of the dead.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed
from pydantic import ValidationError

from cycleqd.config import with_usual
from cycleqd.run.names import RunRef
from tasks.family import family
from tasks.reruns import RERUN, rerun_id
from tasks.server import has_server

_STILL_RUNNING: dict[str, Any] = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}, "name": None}}
_PENDING_SECONDS = 60
"""A flow run that was Pending for so long was to be started by a worker that is gone."""
_PAGE = 200
"""The most that a server lists at a time."""


def mark_vanished(run: RunRef) -> list[str]:
    """Marks flow runs of a run that are shown as Running, but this one's and its family, as Crashed.

    Does nothing without a long-lived server.

    Args:
        run: A run whose lease this process holds; runs of the same name elsewhere are left alone.

    Returns:
        Names of the flow runs that were marked.
    """
    if not has_server():
        return []
    message = f"its process vanished: the lease of run {run.run_id} was free"
    marked = []
    with get_client(sync_client=True) as client:
        own = family(client)
        reruns = _reruns(client)
        for flow_run in _flow_runs(client, FlowRunFilter.model_validate(_STILL_RUNNING)):
            worked_on = _worked_on(flow_run, is_rerun=flow_run.flow_id in reruns)
            if flow_run.id in own or worked_on != run or not _has_vanished(flow_run):
                continue
            _crash_tasks(client, flow_run, message)
            client.set_flow_run_state(flow_run.id, Crashed(message=message), force=True)
            marked.append(flow_run.name)
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


def _worked_on(flow_run: FlowRun, *, is_rerun: bool) -> RunRef | None:
    """The run that a flow run works on, by its parameters; None where they name none."""
    try:
        given = with_usual(flow_run.parameters.get("run") or flow_run.parameters.get("config"))
        run_id = given.get("run_id") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(run_id, str):
            return None
        if is_rerun and flow_run.expected_start_time:
            run_id = rerun_id(run_id, flow_run.expected_start_time)
        return RunRef(run_id=run_id, storage=str(given.get("storage", "runs")))
    except ValidationError:  # somebody's flow that happens to have such a parameter, or one that is about to fail
        return None


def _has_vanished(run: FlowRun) -> bool:
    """Whether it had begun, or was to begin long ago; one that is just being started is refused by the lease."""
    if run.start_time is not None:
        return True
    return run.state is not None and datetime.now(UTC) - run.state.timestamp > timedelta(seconds=_PENDING_SECONDS)


def _crash_tasks(client: SyncPrefectClient, run: FlowRun, message: str) -> None:
    running = TaskRunFilter.model_validate(_STILL_RUNNING)
    of_run = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
    for task_run in client.read_task_runs(flow_run_filter=of_run, task_run_filter=running, limit=_PAGE):
        client.set_task_run_state(task_run.id, Crashed(message=message), force=True)
