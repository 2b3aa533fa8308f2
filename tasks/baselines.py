"""Tasks of the baselines: the experts' merges without a search."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.run.names import RunRef
from cycleqd.steps.workspace import opened
from tasks.options import RETRIED
from tasks.tags import tag_task


@task(task_run_name="derive baselines", **RETRIED)
def derive_baselines(run: RunRef) -> list[str]:
    """Merges the experts by every baseline at every scale; returns the individuals' ids."""
    tag_task(run, "merge")
    with opened(run) as ws:
        records = steps.derive_baselines(ws)
    for record in records:
        settings = ", ".join(f"{name} {value}" for name, value in record.merge.items())
        get_run_logger().info("%s = %s of %s", record.id, settings, ", ".join(record.parents))
    return [record.id for record in records]
