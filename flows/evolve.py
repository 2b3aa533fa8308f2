"""Phase 3: the cyclic MAP-Elites. One child per generation: bred, scored, offered to all archives, committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.run.names import RunRef
from cycleqd.run.records import Score, Split
from cycleqd.steps.workspace import Workspace
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import Scoring, begin_scoring
from tasks.work import at_work


class _Scored(NamedTuple):
    """A child's scores; and where its time went, if another process scored it."""

    generation: int
    scores: dict[str, Score]
    split: Split | None


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
        before, split_before = ws.phases(), ws.evaluator.split()
        with closing(_scored(run, ws, range(done, total))) as scored:
            for generation, scores, elsewhere in scored:
                now, split_now = ws.phases(), ws.evaluator.split()
                spent, before = now - before, now
                split, split_before = elsewhere or split_now - split_before, split_now
                evolution.commit(run, generation, scores, spent, total, split)
                ws.generations += 1
                steps.retain(ws, generation)
                log.info(
                    "generation %d of %d %s %.1f s (generate %.1f, sandbox %.1f, merge %.1f), about %.0f min to go",
                    generation + 1, total, _bar((generation + 1) / total), spent.total, spent.generate,
                    spent.sandbox, spent.merge, (total - generation - 1) * spent.total / 60,
                )  # fmt: skip
        return max(done, total)


def _scored(run: RunRef, ws: Workspace, generations: range) -> Generator[_Scored]:
    """The children's scores in the order of the generations, whoever is faster.

    `search.in_flight` children are under way at a time. A child is bred when the scores of the one so many before it
    are committed.
    """
    under_way: deque[tuple[int, Split, Scoring]] = deque()
    try:
        for generation in generations:
            before = ws.evaluator.split()
            child, part = evolution.breed(run, generation)
            bred = (ws.evaluator.split() - before).model_copy(update={"idle": 0.0})
            under_way.append((generation, bred, begin_scoring(run, child, part, ws.config.tasks, generation)))
            if len(under_way) == ws.config.search.in_flight:
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())
    finally:
        for _, _, scoring in under_way:
            scoring.abandon()


def _result(one: tuple[int, Split, Scoring]) -> _Scored:
    generation, bred, scoring = one
    scores = scoring.result()
    return _Scored(generation, scores, scoring.split and bred + scoring.split)


def _bar(fraction: float, width: int = 24) -> str:
    filled = round(fraction * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"
