"""How busy this machine's processors were."""

from __future__ import annotations

import psutil


class Load:
    """Measures the share of this machine's processor time that was spent, by whatever process.

    In a container it is that of the whole machine, too.
    """

    def __init__(self) -> None:
        self._all, self._idle = _times()

    def since(self) -> float | None:
        """The share in [0, 1] since the last call, or since this was made; None where no time has passed.

        A processor that waits for a disk counts as idle.
        """
        before, idle_before = self._all, self._idle
        self._all, self._idle = _times()
        passed = self._all - before
        if passed <= 0:
            return None
        return min(1.0, max(0.0, 1 - (self._idle - idle_before) / passed))


def _times() -> tuple[float, float]:
    """Seconds of all processors together since the start: all, and idle ones."""
    times = psutil.cpu_times()._asdict()
    # Linux counts what guests take in `user` and `nice`, too.
    every = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return every, times["idle"] + times.get("iowait", 0.0)
