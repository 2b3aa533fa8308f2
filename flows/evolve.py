"""Phase 3: the cyclic MAP-Elites. One child per generation: bred, scored, offered to all archives, committed."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.run.names import RunRef
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import evaluate_everywhere
from tasks.work import at_work


@flow(name="evolve", flow_run_name="evolve {run.run_id}", task_runner=THREADS)
def evolve(run: RunRef, generations: int | None = None) -> int:
    """Evolves from the last finished generation on.

    Args:
        run: A run whose archives are seeded.
        generations: Generations the run is to have in the end; None takes what was last asked for. Later starts
            keep to it.

    Returns:
        Generations that the run has now.
    """
    log = get_run_logger()
    with at_work(run) as ws:
        if generations is not None:
            ws.adopt(ws.config.model_copy(update={"generations": generations}))
        total = ws.config.generations
        steps.rebuild_search(ws)
        done = len(ws.store.generations())
        if done:
            log.info("continuing after %d finished generations", done)
        for generation in range(done, total):
            before = ws.phases()
            child, part = evolution.breed(run, generation)
            scores = evaluate_everywhere(run, child, part, ws.config.tasks, generation)
            spent = ws.phases() - before
            evolution.commit(run, generation, scores, spent, total)
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
