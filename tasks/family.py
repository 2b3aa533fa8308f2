"""Who started this flow run."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run


def family(client: SyncPrefectClient) -> set[UUID]:
    """This flow run and those above it."""
    found: set[UUID] = set()
    above = flow_run.id
    while above and UUID(str(above)) not in found:
        found.add(UUID(str(above)))
        task_run_id = client.read_flow_run(UUID(str(above))).parent_task_run_id
        above = client.read_task_run(task_run_id).flow_run_id if task_run_id else None
    return found
