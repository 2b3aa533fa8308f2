"""The task that gives one run the experts of another."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from cycleqd.baselines import candidates
from cycleqd.experiment.sharing import take_over
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import opened
from tasks import lineage
from tasks.options import RETRIED
from tasks.tags import tag_task


@task(task_run_name="share experts of {source.run_id}", **RETRIED)
def share_experts(source: RunRef, target: RunRef) -> int:
    """Copies experts, baselines and their scores into a run of the same seed; returns the number of objects."""
    tag_task(target, "experts")
    with opened(target) as ws:
        baselines = tuple(candidate.id for candidate in candidates(ws.config.baselines))
        copied = take_over(RunStore.of(source), ws.store, baselines)
        if copied:
            lineage.shared_experts(RunStore.of(source), ws.store)
    get_run_logger().info("%d objects of %s are shared with %s", copied, source.run_id, target.run_id)
    return copied
