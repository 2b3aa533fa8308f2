"""Phase 3: the cyclic MAP-Elites. One child per generation: bred, scored, offered to all archives, committed."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import evaluate_everywhere
from tasks.work import at_work


@flow(name="evolve", flow_run_name="evolve {run_id}", task_runner=THREADS)
def evolve(run_id: str, storage: str = "runs", generations: int | None = None) -> int:
    """Evolves from the last finished generation on.

    Args:
        run_id: A run whose archives are seeded.
        storage: Folder or URL that holds it.
        generations: Generations the run is to have in the end; None takes what was last asked for. Later starts
            keep to it.

    Returns:
        Generations that the run has now.
    """
    log = get_run_logger()
    with at_work(storage, run_id) as ws:
        skills = ws.config.skill_names
        if generations is not None:
            ws.adopt(ws.config.model_copy(update={"generations": generations}))
        total = ws.config.generations
        steps.rebuild_search(ws)
        done = len(ws.store.generations())
        if done:
            log.info("continuing after %d finished generations", done)
        for generation in range(done, total):
            before = ws.phases()
            child, part = evolution.breed(storage, run_id, generation)
            evaluate_everywhere(storage, run_id, child, part, skills=skills, options=ws.config.tasks, label=child)
            spent = ws.phases() - before
            evolution.commit(storage, run_id, generation, spent, total)
            ws.generations += 1
            steps.retain(ws, generation)
            log.info(
                "generation %d of %d %s %.1f s (generate %.1f, sandbox %.1f, merge %.1f), about %.0f min to go",
                generation + 1, total, _bar((generation + 1) / total), spent.total, spent.generate, spent.sandbox,
                spent.merge, (total - generation - 1) * spent.total / 60,
            )  # fmt: skip
        return max(done, total)


def _bar(fraction: float, width: int = 24) -> str:
    filled = round(fraction * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"
