"""What an evaluator does: it scores one child after the other with one engine, which stays warm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from cycleqd.evaluation.evaluator import Evaluator
from cycleqd.evaluators.protocol import Outcome
from cycleqd.run.names import RunRef
from cycleqd.run.seconds import Split
from cycleqd.run.store import RunStore
from cycleqd.skills.parts import Part


class Warm:
    """The one evaluator of this process. Its engine appears with the first child and stays for the next ones.

    Args:
        name: How it is called in records.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._busy = Lock()
        self._run: RunRef | None = None
        self._evaluator: Evaluator | None = None
        self._last = Split()

    def score(self, run: RunRef, individual: str, part: Part) -> Outcome:
        """Scores an individual on all skills that it was not scored on yet; waits while another one is scored.

        Args:
            run: Its run. With another run than the last time, the engine starts anew.
            individual: Its id, or ``base``.
            part: The part of the samples that it is to meet.

        Raises:
            SandboxUnavailable: Infrastructure failed; the individual may be scored again.
            OtherScores: The run's scores do not go with what this process measures.
        """
        with self._busy:
            evaluator = self._opened(run)
            with evaluator.evaluating(individual, part) as scope:
                missing = scope.missing
                if missing:
                    scope.load()
                    # All at the same time: strict batches wait for each other.
                    with ThreadPoolExecutor(len(missing), thread_name_prefix="skill") as pool:
                        under_way = [pool.submit(scope.evaluate, skill) for skill in missing]
                    for one in under_way:
                        one.result()
            now = evaluator.split()
            spent, self._last = now - self._last, now
        named = spent.model_copy(update={"evaluator": self.name})
        return Outcome(evaluator=self.name, evaluated=list(missing), split=named)

    def stop(self) -> None:
        """Ends what is being played at its next turn; to be called from another thread."""
        if (evaluator := self._evaluator) is not None:
            evaluator.stop.set()

    def close(self) -> None:
        """Frees the engine and removes the containers; may be called twice."""
        self.stop()
        with self._busy:
            self._close()

    def _opened(self, run: RunRef) -> Evaluator:
        # One that was told to stop plays nothing more.
        if self._evaluator is not None and (self._run != run or self._evaluator.stop.is_set()):
            self._close()
        if self._evaluator is None:
            self._evaluator, self._run, self._last = Evaluator(RunStore.of(run)), run, Split()
        return self._evaluator

    def _close(self) -> None:
        evaluator, self._evaluator, self._run = self._evaluator, None, None
        if evaluator is not None:
            evaluator.close()
