"""Tasks that score individuals by letting them act."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from prefect import task
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from cycleqd.config import TaskConfig
from cycleqd.report.reading import verdicts_line
from cycleqd.run.names import BASE, RunRef, episodes_key
from cycleqd.run.records import Score
from cycleqd.skills.parts import Part
from cycleqd.steps.workspace import Workspace, opened
from cycleqd.telemetry import metrics
from cycleqd.telemetry.events import event
from tasks import artifacts
from tasks.options import RETRIED, is_infrastructure_fault
from tasks.tags import tag_task


@task(task_run_name="{individual} load", **RETRIED)
def load_individual(run: RunRef, individual: str, part: Part, generation: int | None = None) -> str:
    """Puts an individual's weights into the engine; returns their genome."""
    tag_task(run, generation=generation)
    with opened(run) as ws:
        return ws.evaluator.scope(individual, part).load()


@task(task_run_name="{individual} evaluate {skill}", retry_condition_fn=is_infrastructure_fault)
def evaluate_individual(run: RunRef, individual: str, part: Part, skill: str, generation: int | None = None) -> Score:
    """Scores the loaded individual on one skill, in Docker."""
    tag_task(run, skill=skill, generation=generation)
    if (attempt := task_run.run_count or 1) > 1:
        metrics.count_retry(run.run_id, skill)
        event("evaluation_retried", run=run.run_id, individual=individual, skill=skill, split=part, attempt=attempt)
    with opened(run) as ws:
        record = ws.evaluator.scope(individual, part).evaluate(skill)
        transcripts = ws.store.url(episodes_key(record.genome, skill, part))
        parents = [] if individual == BASE else ws.store.individual(individual).parents
        artifacts.show_evaluation(ws, individual, record, transcripts)
    solved = sum(sample.score == 1.0 for sample in record.samples)
    turns = sum(sample.turns for sample in record.samples)
    get_run_logger().info(
        "%s (parents: %s) on %s %s: %s (%d of %d solved, %d turns, %d tokens, %.1f s); episodes: %s",
        individual, ", ".join(parents) or "none", skill, part, record.score, solved,
        record.score.n, turns, record.tokens, record.seconds, transcripts,
    )  # fmt: skip
    get_run_logger().info("%s on %s: %s", individual, skill, verdicts_line(record))
    return record.score


class Scoring:
    """Evaluations of one individual that are under way; `result` or `abandon` ends them.

    Args:
        ws: The workspace in which they play.
        futures: By skill.
        opened: What is to be closed behind them.
    """

    def __init__(self, ws: Workspace, futures: Mapping[str, PrefectFuture[Score]], opened: ExitStack) -> None:
        self._ws, self._futures, self._opened = ws, futures, opened

    def result(self) -> dict[str, Score]:
        """Waits for the scores, by skill.

        Raises:
            Exception: Whatever an evaluation failed with after its retries; the others are waited for first.
        """
        with self._opened:
            try:
                for future in self._futures.values():
                    future.wait()
            except BaseException:  # Ctrl-C or a cancellation: the evaluations' threads must not play on
                self._ws.evaluator.stop.set()
                raise
            return {skill: future.result() for skill, future in self._futures.items()}

    def abandon(self) -> None:
        """Ends the evaluations at their next turn; their scores are wanted by nobody."""
        self._ws.evaluator.stop.set()
        with self._opened:
            for future in self._futures.values():
                future.wait()


def begin_scoring(
    run: RunRef, individual: str, part: Part, options: TaskConfig, generation: int | None = None
) -> Scoring:
    """Begins to score an individual on all skills, as one task per skill, concurrently; loads it first, if need be.

    Args:
        run: The run.
        individual: Its id.
        part: The part of the samples that it is to meet.
        options: Retries and time-out of each evaluation.
        generation: The generation that this is part of, if any; a tag of the tasks.
    """
    evaluation = evaluate_individual.with_options(
        retries=options.retries,
        retry_delay_seconds=[options.retry_seconds * 2**attempt for attempt in range(options.retries)],
        timeout_seconds=options.timeout_seconds,
    )
    with ExitStack() as stack:
        ws = stack.enter_context(opened(run))
        scope = stack.enter_context(ws.evaluator.evaluating(individual, part))
        if scope.missing:
            load_individual(run, individual, part, generation)
        skills = ws.config.skill_names
        futures = {skill: evaluation.submit(run, individual, part, skill, generation) for skill in skills}
        return Scoring(ws, futures, stack.pop_all())


def evaluate_everywhere(
    run: RunRef, individual: str, part: Part, options: TaskConfig, generation: int | None = None
) -> dict[str, Score]:
    """Scores an individual on all skills and waits for the scores, by skill; see `begin_scoring`."""
    return begin_scoring(run, individual, part, options, generation).result()
