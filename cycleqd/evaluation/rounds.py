"""Strict batching over several skills: one individual's evaluations advance in rounds that share a batch.

Round r holds the r-th requests of every skill, in the skills' order, and nothing else. What shares a batch, which
decides the last bits of the replies, then depends on weights and samples alone: not on timing, and not on faults,
because a skill that is already finished takes part in a repeated round with the requests that it had.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from cycleqd.models.causal_lm.protocol import ChatRequest, Engine, Reply
from cycleqd.run.ledger import Ledger

_POLL_SECONDS = 0.5


class EvaluationStopped(RuntimeError):
    """The run was asked to stop; the evaluation left nothing behind and may be started again."""


class RoundBroken(RuntimeError):
    """Another skill's evaluation failed (the cause), and the rounds that it shared start anew."""


class Seat:
    """One skill's place in `Rounds`."""

    def __init__(self, rounds: Rounds, skill: str, stop: threading.Event) -> None:
        self._rounds = rounds
        self._skill = skill
        self._stop = stop
        self.history: list[list[ChatRequest]] = []
        """What was asked, round by round."""

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """The replies to the next round's requests; waits for the other skills."""
        # Conversations grow while their episodes are played; what was asked must stay as it was.
        asked = [request._replace(messages=[message.copy() for message in request.messages]) for request in requests]
        self.history.append(asked)
        return self._rounds.chat(self._skill, asked, self._stop)

    def leave(self) -> None:
        """Asks for nothing more: the others need not wait until the seat is given up."""
        self._rounds.leave(self._skill)


class Rounds:
    """Where the evaluations of one individual on several skills meet.

    Every unfinished skill has to take its seat, each in a thread of its own; a round is generated when all that still
    play have asked. When one fails, the others get `RoundBroken`, and all may take their seats again.

    Args:
        engine: Holds the individual's weights from the first round to the last.
        skills: The skills, in the order of the batch.
        finished: The requests, round by round, of skills that were evaluated before.
        patience: Seconds to wait for the others before giving up (`tasks.timeout_seconds`).
        ledger: Counts the time in which the engine generates; None counts for nobody.
    """

    def __init__(
        self,
        engine: Engine,
        skills: Sequence[str],
        finished: Mapping[str, list[list[ChatRequest]]],
        *,
        patience: float = 1800.0,
        ledger: Ledger | None = None,
    ) -> None:
        self._ledger = ledger or Ledger()
        self._engine = engine
        self._skills = tuple(skills)
        self._finished = dict(finished)
        self._patience = patience
        self._changed = threading.Condition()
        self._seated: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        """A new attempt: from the first round, with nothing in the cache that the last one left."""
        self._scope = uuid.uuid4().hex
        self._round = 0
        self._generating = False
        self._fault: BaseException | None = None
        self._asked: dict[str, Sequence[ChatRequest]] = {}
        self._answered: dict[str, list[Reply]] = {}
        self._left: set[str] = set()

    @contextmanager
    def seat(self, skill: str, stop: threading.Event) -> Iterator[Seat]:
        """Takes part for `skill`; leaving the block ends its part, an exception ends the attempt.

        Args:
            skill: One of the skills, not seated yet. One that has finished plays once more, when the others are done.
            stop: When set, waiting ends.

        Raises:
            EvaluationStopped: `stop` was set.
            RoundBroken: From `Seat.chat`: another skill failed.
            TimeoutError: From `Seat.chat`: another skill did not come.
        """
        seat = Seat(self, skill, stop)
        with self._changed:
            self._wait(lambda: not (self._seated and (self._fault or skill in self._finished)), stop)
            if self._fault or skill in self._finished:
                self._begin()
            self._finished.pop(skill, None)
            self._seated.add(skill)
        try:
            yield seat
        except BaseException as error:
            with self._changed:
                self._fault = self._fault or error
            raise
        else:
            with self._changed:
                self._finished[skill] = seat.history
        finally:
            with self._changed:
                self._seated.discard(skill)
                self._changed.notify_all()

    def replay(self, skill: str, requests: list[list[ChatRequest]]) -> None:
        """Takes a skill for finished that another process evaluated, unless it plays here or has played.

        Args:
            skill: One of the skills.
            requests: What it asked, round by round.
        """
        with self._changed:
            if skill not in self._seated:
                self._finished.setdefault(skill, requests)
                self._changed.notify_all()

    def leave(self, skill: str) -> None:
        """Lets the others' rounds go on without `skill`, whose seat stays taken."""
        with self._changed:
            self._left.add(skill)
            self._changed.notify_all()

    def chat(self, skill: str, requests: Sequence[ChatRequest], stop: threading.Event) -> list[Reply]:
        """Waits for the round's other skills, then for the replies to this one's requests."""
        with self._changed:
            self._asked[skill] = requests
            self._changed.notify_all()
            while skill not in self._answered:
                self._wait(lambda: self._fault is not None or skill in self._answered or self._complete(), stop)
                if self._fault is not None:
                    raise RoundBroken("another skill's evaluation failed") from self._fault
                if self._complete():
                    self._generate()
            return self._answered.pop(skill)

    def _complete(self) -> bool:
        playing = (skill for skill in self._skills if skill not in self._finished and skill not in self._left)
        return not self._generating and bool(self._asked) and all(skill in self._asked for skill in playing)

    def _generate(self) -> None:
        """Generates the round; called with the lock, which is released meanwhile."""
        batch = {skill: self._asked.get(skill) or self._former(skill) for skill in self._skills}
        requests = [request._replace(scope=f"{self._scope}-{skill}") for skill in batch for request in batch[skill]]
        self._generating = True
        self._changed.release()
        try:
            with self._engine.exclusive(), self._ledger.doing("generate"):
                replies = iter(self._engine.chat(requests))
        finally:
            self._changed.acquire()
            self._generating = False
        answers = {skill: [next(replies) for _ in batch[skill]] for skill in self._skills}
        self._answered = {skill: answers[skill] for skill in self._asked}
        self._asked = {}
        self._round += 1
        self._changed.notify_all()

    def _former(self, skill: str) -> list[ChatRequest]:
        """What a finished skill asked in this round; nothing if it finished in an earlier one."""
        rounds = self._finished.get(skill, [])
        return rounds[self._round] if self._round < len(rounds) else []

    def _wait(self, ready: Callable[[], bool], stop: threading.Event) -> None:
        deadline = time.monotonic() + self._patience
        while not ready():
            if stop.is_set():
                raise EvaluationStopped("the run is being stopped")
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the other skills' evaluations did not go on within {self._patience:g} s: raise "
                    "tasks.timeout_seconds"
                )
            self._changed.wait(_POLL_SECONDS)
