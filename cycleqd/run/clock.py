"""Where the wall-clock time of a run goes.

Phases may overlap (episodes of one skill act while another skill's replies are generated); every second is counted
once: generating wins over sandboxes, and what no phase claims is `other`. Seconds in which evaluators in other
processes score are divided as these spent theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from cycleqd.run.seconds import Phases, Split

Activity = Literal["train", "merge", "evaluate", "elsewhere"]


class Clock:
    """Measures phases from its creation on. Thread-safe; the same activity in several threads counts once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[Activity, int] = {"train": 0, "merge": 0, "evaluate": 0, "elsewhere": 0}
        self._since: dict[Activity, float] = {}
        self._spent: dict[Activity, float] = {"train": 0.0, "merge": 0.0, "evaluate": 0.0, "elsewhere": 0.0}
        self._told = Phases()
        """Of the seconds spent elsewhere, those that evaluators have told of."""

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

    def scored_elsewhere(self, split: Split) -> None:
        """Divides the seconds spent elsewhere, since the last call, as an evaluator spent its own on an individual.

        Args:
            split: The evaluator's time.
        """
        with self._lock:
            seconds = self._until(time.monotonic())["elsewhere"] - self._told.total
            generate, sandbox = split.prefill + split.decode, split.sandbox + split.judge
            merge = split.merge + split.transfer
            other = split.total - generate - sandbox - merge
            if (total := split.total) > 0:
                self._told += Phases(
                    generate=generate / total * seconds,
                    sandbox=sandbox / total * seconds,
                    merge=merge / total * seconds,
                    other=other / total * seconds,
                )

    def phases(self, generating: float) -> Phases:
        """The seconds so far.

        Args:
            generating: Seconds in which the engine of this process generated, all of them inside ``evaluate``.
        """
        now = time.monotonic()
        with self._lock:
            spent, told = self._until(now), self._told
        # What nobody has told of yet is `other`.
        here = spent["train"] + spent["merge"] + spent["evaluate"] + told.total
        return told + Phases(
            train=spent["train"],
            merge=spent["merge"],
            generate=generating,
            sandbox=max(0.0, spent["evaluate"] - generating),
            other=max(0.0, now - self._began - here),
        )

    def _until(self, now: float) -> dict[Activity, float]:
        return {
            activity: seconds + (now - self._since[activity] if self._running[activity] else 0.0)
            for activity, seconds in self._spent.items()
        }
