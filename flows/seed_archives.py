"""Phase 2: score base, experts and their average; fix the grids; fill the archives with the experts."""

from __future__ import annotations

from prefect import flow

from cycleqd import steps
from cycleqd.steps.workspace import BASE
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import evaluate_everywhere
from tasks.work import at_work


@flow(name="seed-archives", flow_run_name="seed-archives {run_id}", task_runner=THREADS)
def seed_archives(run_id: str, storage: str = "runs") -> list[str]:
    """Scores what the search starts from on the optimization split and seeds the archives.

    Args:
        run_id: A run whose experts are trained.
        storage: Folder or URL that holds it.

    Returns:
        Ids of the experts.
    """
    with at_work(storage, run_id) as ws:
        skills = ws.config.skill_names
        for individual in (BASE, steps.AVERAGE, *map(steps.expert_id, skills)):
            part, options = steps.first_part(ws), ws.config.tasks
            evaluate_everywhere(storage, run_id, individual, part, skills=skills, options=options, label=individual)
        return evolution.seed_archives(storage, run_id)
