"""Tasks that score individuals by letting them act."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Protocol

from prefect import Task, task
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.task_engine import TaskRunTimeoutError

from cycleqd.config import TaskConfig
from cycleqd.evaluation.scope import Scope
from cycleqd.evaluators import Outcome
from cycleqd.faults import MendableFault
from cycleqd.report.reading import verdicts_line
from cycleqd.run.names import BASE, RunRef, episodes_key
from cycleqd.run.records import Score, Split
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


@task(task_run_name="{individual} wait for its evaluator", **RETRIED)
def evaluate_elsewhere(run: RunRef, individual: str, part: Part, generation: int | None = None) -> Outcome:
    """Has an individual scored on all skills by an evaluator in another process."""
    tag_task(run, generation=generation)
    with opened(run) as ws:
        if (evaluators := ws.evaluators) is None:
            raise RuntimeError("this run's own process scores: no evaluators are open")
        with ws.clock.measuring("elsewhere"):
            outcome = evaluators.submit(individual, part).result()
            ws.clock.scored_elsewhere(outcome.split)
        records = Scope(ws.evaluator, individual, part).records()
        for skill in outcome.evaluated:
            ws.evaluator.count(records[skill])
    get_run_logger().info("%s was scored by %s in %.1f s", individual, outcome.evaluator, outcome.split.total)
    return outcome


class Scoring(Protocol):
    """Evaluations of one individual that are under way; `result` or `abandon` ends them."""

    @property
    def split(self) -> Split | None:
        """Where the evaluator's time went, when there is a result; None where this process is the evaluator."""
        ...

    def result(self) -> dict[str, Score]:
        """Waits for the scores, by skill.

        Raises:
            Exception: Whatever an evaluation failed with after its retries; the others are waited for first.
        """
        ...

    def on_end(self, call: Callable[[], None]) -> None:
        """Has `call` called when nothing is left to wait for; from any thread, at once where that is so."""
        ...

    def abandon(self) -> None:
        """Ends the evaluations at their next turn; their scores are wanted by nobody."""
        ...


class ScoredBefore:
    """An individual whose scores the run has, all of them; no task is made for what is there.

    Args:
        scope: The individual and the part of the samples.
        skills: The run's skills.

    Raises:
        OtherScores: This process would not repeat them.
        RuntimeError: They were measured on other data.
    """

    split: Split | None = None

    def __init__(self, scope: Scope, skills: Sequence[str]) -> None:
        self._scores = {skill: scope.evaluate(skill).score for skill in skills}

    def result(self) -> dict[str, Score]:
        """See `Scoring.result`."""
        return self._scores

    def on_end(self, call: Callable[[], None]) -> None:
        """See `Scoring.on_end`."""
        call()

    def abandon(self) -> None:
        """See `Scoring.abandon`."""


class EvaluationTimeout(MendableFault, TimeoutError):
    """An evaluation took longer than it may."""


class ScoringHere:
    """Evaluations in this process.

    Args:
        ws: The workspace in which they play.
        individual: Who is evaluated.
        futures: By skill.
        opened: What is to be closed behind them.
    """

    split: Split | None = None

    def __init__(
        self, ws: Workspace, individual: str, futures: Mapping[str, PrefectFuture[Score]], opened: ExitStack
    ) -> None:
        self._ws, self._individual, self._futures, self._opened = ws, individual, futures, opened

    def result(self) -> dict[str, Score]:
        """See `Scoring.result`."""
        with self._opened:
            try:
                for future in self._futures.values():
                    future.wait()
            except BaseException:  # Ctrl-C or a cancellation: the evaluations' threads must not play on
                self._ws.evaluator.stop.set()
                raise
            for skill, future in self._futures.items():  # first, as it breaks the rounds of the others
                if isinstance(fault := future.result(raise_on_failure=False), TaskRunTimeoutError):
                    seconds = self._ws.config.tasks.timeout_seconds
                    raise EvaluationTimeout(
                        f"the evaluation of {self._individual} on {skill} took longer than {seconds:g} s: raise "
                        "tasks.timeout_seconds"
                    ) from fault
            return {skill: future.result() for skill, future in self._futures.items()}

    def on_end(self, call: Callable[[], None]) -> None:
        """See `Scoring.on_end`."""
        left = Countdown(len(self._futures), call)
        for future in self._futures.values():
            future.add_done_callback(left.one_less)

    def abandon(self) -> None:
        """See `Scoring.abandon`."""
        self._ws.evaluator.stop.set()
        with self._opened:
            for future in self._futures.values():
                future.wait()


class ScoringElsewhere:
    """An individual that an evaluator in another process scores.

    Args:
        ws: The workspace, which has the evaluators.
        future: Of the task that waits for it.
        read: Reads the scores when they are there, one task per skill.
    """

    split: Split | None = None

    def __init__(self, ws: Workspace, future: PrefectFuture[Outcome], read: Callable[[], dict[str, Score]]) -> None:
        self._ws, self._future, self._read = ws, future, read

    def result(self) -> dict[str, Score]:
        """See `Scoring.result`."""
        try:
            self._future.wait()
        except BaseException:  # as above
            self._ws.end_evaluators()
            raise
        self.split = self._future.result().split
        return self._read()

    def on_end(self, call: Callable[[], None]) -> None:
        """See `Scoring.on_end`."""
        self._future.add_done_callback(lambda _: call())

    def abandon(self) -> None:
        """See `Scoring.abandon`."""
        self._ws.end_evaluators()
        self._future.wait()


class Countdown:
    """Calls something after a number of events, which may come from any threads.

    Args:
        count: Events, at least 1.
        call: What to call.
    """

    def __init__(self, count: int, call: Callable[[], None]) -> None:
        self._left, self._call, self._lock = count, call, Lock()

    def one_less(self, _: object = None) -> None:
        """One of the events."""
        with self._lock:
            self._left -= 1
            over = self._left == 0
        if over:
            self._call()


def begin_scoring(
    run: RunRef, individual: str, part: Part, options: TaskConfig, generation: int | None = None
) -> Scoring:
    """Begins to score an individual on all skills, as one task per skill, concurrently, after a task that loads it.

    What the run has is only read.

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

    def read() -> dict[str, Score]:
        return _begin_here(run, individual, part, evaluation, generation).result()

    with opened(run) as ws:
        scope = Scope(ws.evaluator, individual, part)
        if not scope.missing:  # in a run that is continued
            return ScoredBefore(scope, ws.config.skill_names)
        if ws.evaluators is None:
            return _begin_here(run, individual, part, evaluation, generation)
        waiting = evaluate_elsewhere.with_options(
            retries=options.retries, retry_delay_seconds=evaluation.retry_delay_seconds
        )
        return ScoringElsewhere(ws, waiting.submit(run, individual, part, generation), read)


def _begin_here(
    run: RunRef, individual: str, part: Part, evaluation: Task[..., Score], generation: int | None
) -> ScoringHere:
    with ExitStack() as stack:
        ws = stack.enter_context(opened(run))
        scope = stack.enter_context(ws.evaluator.evaluating(individual, part))
        if scope.missing:
            load_individual(run, individual, part, generation)
        skills = ws.config.skill_names
        futures = {skill: evaluation.submit(run, individual, part, skill, generation) for skill in skills}
        return ScoringHere(ws, individual, futures, stack.pop_all())


def evaluate_everywhere(
    run: RunRef, individual: str, part: Part, options: TaskConfig, generation: int | None = None
) -> dict[str, Score]:
    """Scores an individual on all skills and waits for the scores, by skill; see `begin_scoring`."""
    return begin_scoring(run, individual, part, options, generation).result()


def evaluate_each(run: RunRef, individuals: Sequence[str], part: Part, options: TaskConfig) -> Iterator[str]:
    """Scores individuals on all skills, as many at a time as there are evaluators.

    Yields:
        Their ids in the given order, each when it is scored.
    """
    with opened(run) as ws:
        under_way: deque[tuple[str, Scoring]] = deque()
        try:
            for individual in individuals:
                under_way.append((individual, begin_scoring(run, individual, part, options)))
                if len(under_way) == ws.config.evaluators.count:
                    yield _scored(*under_way.popleft())
            while under_way:
                yield _scored(*under_way.popleft())
        finally:
            abandon_all(scoring for _, scoring in under_way)


def abandon_all(scorings: Iterable[Scoring]) -> None:
    """Abandons all of them, also where one raises: in a suspended flow run whatever waits for a task does."""
    with ExitStack() as stack:
        for scoring in scorings:
            stack.callback(scoring.abandon)


def _scored(individual: str, scoring: Scoring) -> str:
    scoring.result()
    return individual
