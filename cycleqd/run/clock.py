"""Where the wall-clock time of a run goes.

Phases may overlap (episodes of one skill act while another skill's replies are generated); every second is counted
once: generating wins over sandboxes, and what no phase claims is `other`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from cycleqd.run.records import Phases

Activity = Literal["train", "merge", "evaluate"]


class Clock:
    """Measures phases from its creation on. Thread-safe; the same activity in several threads counts once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[Activity, int] = {"train": 0, "merge": 0, "evaluate": 0}
        self._since: dict[Activity, float] = {}
        self._spent: dict[Activity, float] = {"train": 0.0, "merge": 0.0, "evaluate": 0.0}

    @contextmanager
    def measuring(self, activity: Activity) -> Iterator[None]:
        """Counts the block's time towards `activity`."""
        with self._lock:
            if self._running[activity] == 0:
                self._since[activity] = time.monotonic()
            self._running[activity] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[activity] -= 1
                if self._running[activity] == 0:
                    self._spent[activity] += time.monotonic() - self._since[activity]

    def phases(self, generating: float) -> Phases:
        """The seconds so far.

        Args:
            generating: Seconds in which the engine generated, all of them inside ``evaluate``.
        """
        now = time.monotonic()
        with self._lock:
            spent = {
                activity: seconds + (now - self._since[activity] if self._running[activity] else 0.0)
                for activity, seconds in self._spent.items()
            }
        return Phases(
            train=spent["train"],
            merge=spent["merge"],
            generate=generating,
            sandbox=max(0.0, spent["evaluate"] - generating),
            other=max(0.0, now - self._began - spent["train"] - spent["merge"] - spent["evaluate"]),
        )
