"""Phase 3: the cyclic MAP-Elites. One child per generation: bred, scored, offered to all archives, committed."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from typing import Annotated, NamedTuple

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from cycleqd import steps
from cycleqd.config.form import LimitsBeside
from cycleqd.machine.load import Load
from cycleqd.run.names import RunRef
from cycleqd.run.records import Score, Split
from cycleqd.search.in_flight import under_way
from cycleqd.steps.workspace import Workspace
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import Scoring, abandon_all, begin_scoring
from tasks.work import at_work


class _Scored(NamedTuple):
    """A child's scores; and where its time went, if another process scored it."""

    child: int
    scores: dict[str, Score]
    split: Split | None


_Generations = Annotated[Annotated[int, Field(ge=0, strict=True)] | None, LimitsBeside]


@flow(name="evolve", flow_run_name="evolve {run.run_id}", task_runner=THREADS)
def evolve(run: RunRef, generations: _Generations = None) -> int:
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
        told = {record.index for record in ws.store.generations()}
        done = len(told)
        if done:
            log.info("continuing after %d finished generations", done)
        before, split_before, load = ws.phases(), ws.evaluator.split(), Load()
        with closing(_scored(run, ws, told, total)) as scored:
            for generation, (child, scores, elsewhere) in enumerate(scored, start=done):
                now, split_now = ws.phases(), ws.evaluator.split()
                spent, before = now - before, now
                split, split_before = elsewhere or split_now - split_before, split_now
                evolution.commit(run, generation, scores, spent, total, split, child, load.since())
                ws.generations += 1
                steps.retain(ws, generation)
                log.info(
                    "generation %d of %d %s %.1f s (generate %.1f, sandbox %.1f, merge %.1f), about %.0f min to go",
                    generation + 1, total, _bar((generation + 1) / total), spent.total, spent.generate,
                    spent.sandbox, spent.merge, (total - generation - 1) * spent.total / 60,
                )  # fmt: skip
        return max(done, total)


def _scored(run: RunRef, ws: Workspace, told: Collection[int], total: int) -> Generator[_Scored]:
    """The children's scores in the order in which they are to be committed.

    `search.in_flight` children are under way at a time. A further one is bred when the scores of one are committed.

    Args:
        run: The run.
        ws: Its workspace.
        told: The children that are committed already.
        total: Children in all.
    """
    search = ws.config.search
    begun: dict[int, tuple[Split, Scoring]] = {}
    ended: SimpleQueue[int] = SimpleQueue()
    told = set(told)
    try:
        while children := under_way(told, search.in_flight, total):
            for child in children:
                if child not in begun:
                    before = ws.evaluator.split()
                    individual, part = evolution.breed(run, child)
                    bred = (ws.evaluator.split() - before).model_copy(update={"idle": 0.0})
                    scoring = begin_scoring(run, individual, part, ws.config.tasks, child)
                    begun[child] = bred, scoring
                    scoring.on_end(partial(ended.put, child))
            first = children[0] if search.commit == "order" else ended.get()
            yield _result(first, *begun.pop(first))
            told.add(first)
    finally:
        abandon_all(scoring for _, scoring in begun.values())


def _result(child: int, bred: Split, scoring: Scoring) -> _Scored:
    scores = scoring.result()
    return _Scored(child, scores, scoring.split and bred + scoring.split)


def _bar(fraction: float, width: int = 24) -> str:
    filled = round(fraction * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"
