"""The task that gives one run the experts of another."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.logging import get_run_logger

from cycleqd.experiment.sharing import take_experts
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import opened
from tasks import lineage
from tasks.options import RETRIED
from tasks.tags import tag_task


@task(task_run_name="share experts with {target.run_id}", **RETRIED)
def share_experts(sources: Sequence[RunRef], target: RunRef) -> int:
    """Copies experts, baselines and their scores from a run of the same seed; returns the number of objects.

    Args:
        sources: Runs that may give them; the first one that can does.
        target: The run that is to have them.
    """
    tag_task(target, "experts")
    with opened(target) as ws:
        taken = take_experts(ws, [RunStore.of(source) for source in sources])
        if taken is None:
            return 0
        source, copied = taken
        if copied:
            lineage.shared_experts(source, ws.store)
    get_run_logger().info("%d objects of %s are shared with %s", copied, source.run_id, target.run_id)
    return copied
