"""Part of the guest of a shell container: how much an agent has written outside the in-memory file systems.

No quota can be had everywhere, so the guest watches the free space of Docker's disk while commands run. Others use
that disk, too. So where it shrank by more than the container has left, the container's processes are stopped and its
own files are counted.
"""

from __future__ import annotations

import os
import signal
import stat
import time

BLOCK = 512
LEAST = 4_096
"""A file takes an inode, if nothing else."""
ROOT = "/"
COUNT_SECONDS = 5.0


def free_bytes() -> tuple[int, int]:
    """What the disk has left in bytes, and what its inodes would take at `LEAST` bytes each."""
    status = os.statvfs(ROOT)
    return status.f_bfree * status.f_frsize, status.f_ffree * LEAST


class Disk:
    """Watches one container's use of the disk.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._device = os.stat(ROOT).st_dev
        self._since = time.time_ns() - 1_000_000_000
        self._used = 0
        self._mark: tuple[int, ...] = free_bytes()

    def full(self) -> bool:
        """Whether more than the limit is used; cheap as long as the disk's free space changes little."""
        free = free_bytes()
        self._mark = tuple(map(max, self._mark, free))
        shrunk = max(before - now for before, now in zip(self._mark, free))  # noqa: B905 -- Python 3.9 has no strict
        if shrunk <= max(self._limit - self._used, self._limit // 8):
            return False
        os.kill(-1, signal.SIGSTOP)
        self._used = self._count()
        os.kill(-1, signal.SIGCONT)
        self._mark = free_bytes()
        return self._used > self._limit

    def _count(self) -> int:
        """Bytes in files made or changed since the start, at least up to the limit."""
        used = self._deleted()
        seen: set[int] = set()
        deadline = time.monotonic() + COUNT_SECONDS
        pending = [ROOT]
        while pending and used <= self._limit:
            if time.monotonic() > deadline:
                return self._limit + 1  # more than anybody needs, or hidden in depths
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue
                        if status.st_dev != self._device:
                            continue
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(entry.path)
                        if status.st_ctime_ns >= self._since and status.st_ino not in seen:
                            seen.add(status.st_ino)
                            used += max(LEAST, status.st_blocks * BLOCK)
            except OSError:
                continue
        return used

    def _deleted(self) -> int:
        """Bytes of files that have no name any more and that a process holds open."""
        used = 0
        seen: set[int] = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                # Only a process of the same user may look at another's files.
                os.seteuid(os.stat(f"/proc/{pid}").st_uid)
                for number in os.listdir(f"/proc/{pid}/fd"):
                    status = os.stat(f"/proc/{pid}/fd/{number}")
                    nameless = status.st_nlink == 0 and stat.S_ISREG(status.st_mode)
                    if nameless and status.st_dev == self._device and status.st_ino not in seen:
                        seen.add(status.st_ino)
                        used += status.st_blocks * BLOCK
            except OSError:
                continue
            finally:
                os.seteuid(0)
        return used
