"""Where the time of a generation goes, activity by activity.

Several activities may be under way at a time, in threads of one process. Every second is counted once, for the first
of `ORDER` that is under way. So a second in which the engine generates is the engine's, whatever sandboxes do
meanwhile. What no activity claims is idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final, Literal

from cycleqd.run.seconds import Split

Work = Literal["generate", "store", "merge", "transfer", "propose", "judge", "sandbox"]

ORDER: Final[tuple[Work, ...]] = ("generate", "store", "merge", "transfer", "propose", "judge", "sandbox")
"""Who gets a second that several claim; storing comes before what it is a part of."""


class Ledger:
    """Counts seconds by activity from its creation on. Thread-safe.

    Example:
        before = ledger.split()
        with ledger.doing("sandbox"):
            ...
        spent = ledger.split() - before

    Args:
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._running = dict.fromkeys(ORDER, 0)
        self._spent: dict[Work | Literal["idle"], float] = dict.fromkeys((*ORDER, "idle"), 0.0)
        self._since = clock()

    @contextmanager
    def doing(self, work: Work) -> Iterator[None]:
        """Counts the block's time towards `work`, as far as nothing that comes before it is under way."""
        self._change(work, 1)
        try:
            yield
        finally:
            self._change(work, -1)

    def split(self, prefill: float = 0.0) -> Split:
        """The seconds so far.

        Args:
            prefill: Seconds in which the engine read prompts, all of them inside ``generate``.
        """
        with self._lock:
            self._count()
            spent = dict(self._spent)
        generate = spent["generate"]
        prefill = min(prefill, generate)
        return Split(
            propose=spent["propose"],
            merge=spent["merge"],
            transfer=spent["transfer"],
            prefill=prefill,
            decode=generate - prefill,
            sandbox=spent["sandbox"],
            judge=spent["judge"],
            store=spent["store"],
            idle=spent["idle"],
        )

    def _change(self, work: Work, by: int) -> None:
        with self._lock:
            self._count()
            self._running[work] += by

    def _count(self) -> None:
        now = self._clock()
        claims: Work | Literal["idle"] = next((work for work in ORDER if self._running[work]), "idle")
        self._spent[claims] += now - self._since
        self._since = now
