"""Phase 2: score base, experts and their average; fix the grids; fill the archives with the experts."""

from __future__ import annotations

from prefect import flow

from cycleqd import steps
from cycleqd.run.names import AVERAGE, BASE, RunRef, expert_id
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import evaluate_each
from tasks.work import at_work


@flow(name="seed-archives", flow_run_name="seed-archives {run.run_id}", task_runner=THREADS)
def seed_archives(run: RunRef) -> list[str]:
    """Scores what the search starts from on the optimization split and seeds the archives.

    Args:
        run: A run whose experts are trained.

    Returns:
        Ids of the experts.
    """
    with at_work(run) as ws:
        first = (BASE, AVERAGE, *map(expert_id, ws.config.skill_names))
        list(evaluate_each(run, first, steps.first_part(ws), ws.config.tasks))
        return evolution.seed_archives(run)
