"""Which evaluator gets which child, where we keep the evaluators ourselves: whoever is free takes the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count as numbers
from queue import PriorityQueue

from cycleqd.evaluation.rounds import EvaluationStopped
from cycleqd.evaluators.protocol import ATTEMPTS, EvaluatorLost, Outcome
from cycleqd.skills.parts import Part
from cycleqd.telemetry.events import event


class Died(Exception):
    """The evaluator died over a child; the text says how."""


@dataclass(order=True, slots=True)
class _Job:
    """A child to be scored; earlier ones come first, also when they come again."""

    number: int
    individual: str = field(compare=False)
    part: Part = field(compare=False)
    future: Future[Outcome] = field(compare=False, default_factory=Future)
    deaths: list[str] = field(compare=False, default_factory=list)


class Dispatch:
    """A queue of children, and a thread for each place that an evaluator has.

    To be ended in three steps: `stop`, then whoever keeps the evaluators ends them, then `join`.

    Args:
        run_id: The run's id, for events.
        kind: What places are called in events, with their number.
        count: Places, at least 1.
        score: Has the evaluator of a place score an individual, and waits; called by the place's thread. It raises
            `Died` where the evaluator is no more: the child then goes to another one. What else it raises is the
            child's.
        advice: What to do when `ATTEMPTS` evaluators died over one child.
    """

    def __init__(
        self, run_id: str, kind: str, count: int, score: Callable[[int, str, Part], Outcome], *, advice: str
    ) -> None:
        self._run_id, self._kind, self._score, self._advice = run_id, kind, score, advice
        self._jobs: PriorityQueue[_Job] = PriorityQueue()
        self._numbers = numbers()
        self._lock = threading.Lock()
        self._stopped = False
        self._keepers = [
            threading.Thread(target=self._keep, args=(place,), name=f"evaluator-{place}", daemon=True)
            for place in range(count)
        ]
        for keeper in self._keepers:
            keeper.start()

    def submit(self, individual: str, part: Part) -> Future[Outcome]:
        """See `Evaluators.submit`.

        Raises:
            RuntimeError: It was stopped.
        """
        job = _Job(next(self._numbers), individual, part)
        with self._lock:
            if self._stopped:
                raise RuntimeError("the evaluators are closed")
            self._jobs.put(job)
        return job.future

    def check_running(self) -> None:
        """To be called before an evaluator is started.

        Raises:
            EvaluationStopped: No more are to be started.
        """
        if self._stopped:
            raise EvaluationStopped("the run is being stopped")

    def stop(self) -> bool:
        """Begins no further child; whether this is the first call."""
        with self._lock:
            already, self._stopped = self._stopped, True
        if not already:
            for _ in self._keepers:  # numbers below zero: ahead of all children
                self._jobs.put(_Job(-1, "", ""))
        return not already

    def join(self) -> None:
        """Waits for what is being scored, and gives up what is not."""
        for keeper in self._keepers:
            keeper.join()
        while not self._jobs.empty():
            self._jobs.get().future.cancel()

    def _keep(self, place: int) -> None:
        """Gives the evaluator of one place its children."""
        while (job := self._jobs.get()).number >= 0:
            if job.deaths or job.future.set_running_or_notify_cancel():
                self._have_scored(place, job)

    def _have_scored(self, place: int, job: _Job) -> None:
        try:
            outcome = self._score(place, job.individual, job.part)
        except Died as death:
            self._after_death(place, job, str(death))
        except Exception as error:  # the child's, or it could not be started
            job.future.set_exception(error)
        else:
            job.future.set_result(outcome)

    def _after_death(self, place: int, job: _Job, how: str) -> None:
        if self._stopped:
            job.future.set_exception(EvaluationStopped("the run is being stopped"))
            return
        job.deaths.append(how)
        event(
            "evaluator_lost", run=self._run_id, evaluator=f"{self._kind}-{place}", individual=job.individual, how=how
        )
        if len(job.deaths) < ATTEMPTS:
            self._jobs.put(job)
            return
        job.future.set_exception(
            EvaluatorLost(
                f"{len(job.deaths)} evaluators died while they scored {job.individual} ({', '.join(job.deaths)}); "
                f"{self._advice}"
            )
        )
