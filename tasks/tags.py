"""Tags by which runs of flows and tasks are found in the UI: ``run:demo``, ``skill:os``, ``generation:12``.

They are set while the flow or task is running, not declared. For every tag that a task run begins with, Prefect asks
its server for a slot of a concurrency limit of that name, which took two seconds a task on SQLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from cycleqd.run.names import RunRef


def run_tag(run: RunRef) -> str:
    """The tag of all that works on a run."""
    return f"run:{run.run_id}"


def tag_flow(*names: str) -> None:
    """Adds tags to the flow run that this is called in; those that it has stay.

    Where the server does not take them, only the tags are lost.
    """
    if flow_run.id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            # What this process knows of are the tags that the flow run began with.
            known: Sequence[str] = client.read_flow_run(UUID(flow_run.id)).tags
            if set(names) <= set(known):
                return
            client.update_flow_run(flow_run.id, tags=[*known, *(name for name in names if name not in known)])
    except (PrefectException, httpx.HTTPError) as error:
        get_run_logger().warning("this flow run could not be tagged %s: %s", ", ".join(names), error)


def tag_task(run: RunRef, *names: str, skill: str | None = None, generation: int | None = None) -> None:
    """Adds tags to the task run that this is called in; the server hears of them with its next state.

    Args:
        run: What it works on.
        names: Further tags.
        skill: The skill that it is about, if any.
        generation: The generation that it is part of, if any.
    """
    context = TaskRunContext.get()
    if context is None:  # a test, or a call without Prefect
        return
    wanted = [run_tag(run), *names]
    wanted += [] if skill is None else [f"skill:{skill}"]
    wanted += [] if generation is None else [f"generation:{generation}"]
    tags = context.task_run.tags
    tags += [name for name in wanted if name not in tags]
