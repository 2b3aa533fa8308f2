"""What is known of the samples that are being played."""

from __future__ import annotations

import asyncio
import itertools
from contextvars import ContextVar
from typing import Final

from cycleqd.skills.benchmarks.inspect_task.worker.link import Link

NAME: Final = "cycleqd"
"""The stand-ins' name among inspect_ai's models and sandboxes."""

judging: Final[ContextVar[bool]] = ContextVar("judging", default=False)
"""Whether a scorer runs in this context."""

current: Final[ContextVar[str | None]] = ContextVar("sample", default=None)
"""The id of the sample that runs in this context."""


class Sample:
    """What is known of a sample that is being played."""

    def __init__(self) -> None:
        self.began = False
        self.asked = 0
        self.touched = False
        """Whether the solver used the sandbox before it asked the model for anything."""
        self.solved = False
        self.stopped = False
        """Whether it is told to end as it stands: it asks for nothing more."""
        self.turn = asyncio.Lock()
        """Held from a question to its answer: a solver may ask several things at once."""
        self.written: dict[tuple[str, tuple[str, ...]], str] = {}
        """What the model wrote, by what inspect_ai made of it."""


class Stage:
    """One task's samples that are being played."""

    def __init__(self, link: Link, *, score: bool) -> None:
        self.link = link
        self.score = score
        self.samples: dict[str, Sample] = {}
        self.boxes = itertools.count()
        self.calls = itertools.count()


class _Theatre:
    """Where the one stage is: inspect_ai plays one task at a time in a process."""

    stage: Stage | None = None


def open_stage(stage: Stage) -> None:
    """Makes a stage the one that the stand-ins play on."""
    _Theatre.stage = stage


def on_stage() -> Stage:
    """The stage that is played on.

    Raises:
        RuntimeError: There is none.
    """
    if _Theatre.stage is None:
        raise RuntimeError("no task is being played")
    return _Theatre.stage


def refuse(stage: Stage, text: str) -> None:
    """Says why the task is none that can be played here; who started this process ends it."""
    stage.link.tell("refused", text=text)


def limit(turns: int) -> Exception:
    """The exception with which inspect_ai ends a sample and scores it as it stands."""
    from inspect_ai import solver, util

    kind = getattr(util, "LimitExceededError", None) or solver.SampleLimitExceededError
    made: Exception = kind("custom", value=turns + 1, limit=turns, message="no turns left")
    return made


def is_limit(error: BaseException) -> bool:
    """Whether inspect_ai scores a sample that ended with this."""
    return "LimitExceededError" in type(error).__name__ and "Output" not in type(error).__name__
