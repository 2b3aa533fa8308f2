"""What watches a running statement from outside, for the server bounds neither everything nor everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Literal, Self

FIRST_LOOK_SECONDS = 0.1
"""A statement that ends before is not looked at: nearly all do, and none can have taken much."""
LOOK_SECONDS = 0.05

Excess = Literal["time", "memory", "disk", "crowd"]
"""What a statement took too much of; ``crowd`` is a disk that all episodes together fill."""


class Guard:
    """Ends the block that it guards when it takes too much, or too long.

    Args:
        seconds: Wall-clock time, positive.
        look: Says what the statement has too much of by now; None is nothing. Called from another thread.
        bite: Ends the statement. Called from another thread, at most once, never after the block's end.
        working: Entered, by another thread, while the statement is being looked at.
    """

    def __init__(
        self,
        seconds: float,
        look: Callable[[], Excess | None],
        bite: Callable[[], None],
        working: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.excess: Excess | None = None
        self._seconds = seconds
        self._look = look
        self._bite = bite
        self._working = working
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def _watch(self) -> None:
        deadline = time.monotonic() + self._seconds
        if self._over.wait(min(FIRST_LOOK_SECONDS, self._seconds)):
            return
        with self._working():
            while not self._over.is_set():
                excess: Excess | None = "time" if time.monotonic() >= deadline else self._look()
                if excess is not None and not self._over.is_set():
                    self.excess = excess
                    self._bite()
                    return
                self._over.wait(LOOK_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
