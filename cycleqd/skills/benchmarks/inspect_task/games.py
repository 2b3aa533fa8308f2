"""Samples of a task that inspect_ai plays, seen from here: each asks for replies, and in the end it is scored."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cycleqd.messages import Message
from cycleqd.sandbox import Sandboxes, SandboxUnavailable
from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from cycleqd.skills.benchmarks.inspect_task.boxes import Boxes, BoxFault
from cycleqd.skills.benchmarks.inspect_task.client import Event, InspectFailed, Worker, absent, workers
from cycleqd.skills.benchmarks.inspect_task.surroundings import Surroundings

PATIENCE: Final = 1800.0
"""Seconds that a sample may take between a reply and the next question: tools and scorers run in between."""


@dataclass(slots=True)
class Seat:
    """One sample of a game.

    Attributes:
        asked: What the model is asked next; None while nothing is asked.
        scores: What the scorers said, when the sample has ended.
        failed: Why it has no scores.
        replies: How many replies it was given.
        fault: What happened to its sandbox.
        touched: Whether its solver used the sandbox before it asked for anything.
    """

    asked: list[Message] | None = None
    scores: list[Mapping[str, Any]] | None = None
    failed: str | None = None
    replies: int = 0
    fault: SandboxUnavailable | None = None
    touched: bool = False

    @property
    def ended(self) -> bool:
        """Whether it asks for nothing more."""
        return self.scores is not None or self.failed is not None or self.fault is not None


class Game:
    """Samples that inspect_ai plays together, in one of its evaluations with one log.

    Args:
        task: The task, as inspect_ai spells it.
        arguments: Its arguments.
        ids: The samples.
        name: The skill's name, for the log and for messages.
        live: Samples that are played at a time.
        sandboxes: Where they act; None plays them up to what they ask first, without sandboxes and scores.
        own: What samples act in, by key, where that is no image of ours.
    """

    def __init__(
        self,
        task: str,
        arguments: Mapping[str, Any],
        ids: Sequence[str],
        *,
        name: str,
        live: int,
        sandboxes: Sandboxes | None,
        own: Mapping[str, Surroundings] = MappingProxyType({}),
    ) -> None:
        self._name = name
        self._task = task
        self._changed = threading.Condition()
        self._seats = {key: Seat() for key in ids}
        self._over: str | None = None
        self._refused: str | None = None
        self._log: Path | None = None
        self._boxes = Boxes(sandboxes, own) if sandboxes is not None else None
        self._folder = tempfile.TemporaryDirectory(prefix="cycleqd-inspect-")
        # As many as may act at a time, and as many that are being closed.
        self._hands = ThreadPoolExecutor(2 * live + 2, thread_name_prefix=f"{name}-box")
        self._worker: Worker = workers.take()
        self._worker.hear = self._hear
        self._worker.send(
            {
                "do": "play",
                "task": task,
                "arguments": dict(arguments),
                "ids": list(ids),
                "name": name,
                "live": live,
                "score": sandboxes is not None,
                "log": self._folder.name,
            }
        )

    def has(self, key: str) -> bool:
        """Whether a sample is played here."""
        return key in self._seats

    def question(self, key: str) -> Seat:
        """A sample when it asks for a reply or has ended; blocks.

        Raises:
            SandboxUnavailable: Its sandbox died.
            DataUnavailable: The task cannot be played here.
            InspectFailed: inspect_ai did, or its task took too long.
        """
        seat = self._seats[key]
        self._wait(lambda: seat.asked is not None or seat.ended, f"the sample {key}")
        if seat.fault is not None:
            raise seat.fault
        if seat.asked is None and not seat.ended:
            # inspect_ai and its task went on to the end, and a retry would do the same.
            kind = DataUnavailable if self._over == "played" else InspectFailed
            raise kind(f"{self._name}: inspect_ai ended before the sample {key}: {self._over}")
        return seat

    def reply(self, key: str, text: str) -> None:
        """Gives a sample the reply that it asked for."""
        self._answer(key, {"do": "reply", "to": key, "text": text})

    def stop(self, key: str) -> None:
        """Lets a sample that asks for a reply end as it stands; it is scored."""
        self._answer(key, {"do": "limit", "to": key})

    def log(self) -> Path:
        """The log, when all samples have ended; blocks.

        Raises:
            DataUnavailable: The task cannot be played here.
            InspectFailed: There is none.
        """
        self._wait(lambda: self._log is not None, "the log")
        if self._log is None:
            raise InspectFailed(f"{self._name}: inspect_ai ended before its log: {self._over}")
        return self._log

    def close(self) -> None:
        """Ends what still runs, removes its containers and the log."""
        if self._over == "played":
            workers.give_back(self._worker)
        else:
            self._worker.hear = lambda _: None
            self._worker.kill()
        if self._boxes is not None:
            with suppress(SandboxUnavailable):
                self._boxes.close()
        self._hands.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()

    def _answer(self, key: str, command: Mapping[str, Any]) -> None:
        with self._changed:
            seat = self._seats[key]
            seat.asked = None
            seat.replies += command["do"] == "reply"
        self._worker.send(command)

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while not ready() and self._over is None and self._refused is None:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise InspectFailed(f"{self._name}: {what} did not go on within {PATIENCE:.0f} s")
            if self._refused is not None:
                raise DataUnavailable(f"{self._name}: {self._task} can't be played: {self._refused}")

    def _hear(self, event: Event) -> None:
        what = event["what"]
        if what == "act":
            self._hands.submit(self._act, event)
            return
        with self._changed:
            if what == "ask":
                seat = self._seats[event["sample"]]
                seat.asked, seat.touched = list(event["messages"]), event["touched"]
            elif what == "scored":
                self._seats[event["sample"]].scores = list(event["scores"])
            elif what == "failed":
                seat = self._seats[event["sample"]]
                seat.failed = seat.failed or event["text"]
            elif what == "played":
                self._over, self._log = "played", Path(str(event["log"]).removeprefix("file://"))
                if event["status"] != "success":
                    self._over = f"{event['status']}: {event['error']}"
            elif what in ("refused", "fault"):  # the task is at fault, and a retry would do the same
                self._refused = self._refused or event["text"]
            elif what == "absent":
                self._over = absent(self._name, event["text"])
            else:
                self._over = event["text"] or what
            self._changed.notify_all()

    def _act(self, event: Event) -> None:
        answer: dict[str, Any] = {"do": "acted", "to": event["call"]}
        try:
            if self._boxes is None:
                raise RuntimeError("a game without sandboxes acts in none")
            answer["result"] = self._boxes.act(event["sample"], event["box"], event["operation"], event["arguments"])
        except BoxFault as fault:
            answer["error"] = [fault.kind, fault.text]
        except SandboxUnavailable as fault:
            answer["error"] = ["RuntimeError", str(fault)]
            if event["operation"] != "close":
                with self._changed:
                    self._seats[event["sample"]].fault = fault
                    self._changed.notify_all()
        except Exception as error:
            answer["error"] = ["RuntimeError", f"{type(error).__name__}: {error}"]
        self._worker.send(answer)
