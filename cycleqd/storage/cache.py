"""This machine's copies of remote objects: each is downloaded once, whichever process asks, and checked.

Layout: ``objects/<hash of the checksum file>/<name>``, ``locks/`` and ``staging/``. A version of an object has a
folder of its own, so a copy is never out of date.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cycleqd.storage import checksums

DEFAULT_GB = 50.0
IN_USE_SECONDS = 600.0
"""A copy that was asked for so recently is not evicted: whoever has its path may not have opened it yet."""
_OWNERLESS_SECONDS = 60.0
"""Age from which a staging folder that nobody has locked is a dead process' and not one about to be locked."""

_intact: set[str] = set()
"""Copies whose content this process has compared with their checksums."""


def cache_dir() -> Path:
    """Where models and objects are kept between runs: ``CYCLEQD_CACHE``, or ``~/.cache/cycleqd``."""
    return Path(os.environ.get("CYCLEQD_CACHE") or Path.home() / ".cache" / "cycleqd")


def cache_limit() -> int:
    """Bytes that the copies of objects may take: ``CYCLEQD_CACHE_GB`` (in GiB), or 50 GiB.

    Raises:
        ValueError: The variable is not a positive number.
    """
    text = os.environ.get("CYCLEQD_CACHE_GB") or str(DEFAULT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise ValueError(f"CYCLEQD_CACHE_GB must be a positive number of GiB, got {text!r}")
    return int(limit * 2**30)


class ObjectCache:
    """Copies of objects on this machine, shared by its processes; the least recently used go first.

    Args:
        root: Folder of the cache; made when needed. The default is `cache_dir`.
        limit: Bytes that copies may take; the default is `cache_limit`.
    """

    def __init__(self, root: Path | None = None, *, limit: int | None = None) -> None:
        root = root or cache_dir()
        self._objects, self._locks, self._staging = root / "objects", root / "locks", root / "staging"
        self._limit = limit

    def fetch(self, name: str, hashes: dict[str, str], download: Callable[[Path], None]) -> Path:
        """A local copy of an object.

        Args:
            name: The object's own name, which the copy gets.
            hashes: What its checksum file says; together with the name it identifies the version.
            download: Writes the object to a path and compares it with its checksums.
        """
        digest = checksums.of_bytes(checksums.to_text(name, hashes))
        entry = self._objects / digest
        copy = entry / name
        with self._lock(digest):
            if str(entry) not in _intact and entry.exists() and checksums.of_path(copy, name) != hashes:
                shutil.rmtree(entry)
            new = not entry.exists()
            if new:
                with self.staging() as folder:
                    (folder / "entry").mkdir()
                    download(folder / "entry" / name)
                    entry.parent.mkdir(parents=True, exist_ok=True)
                    (folder / "entry").rename(entry)
            os.utime(entry)
            _intact.add(str(entry))
        if new:
            self._evict()
        return copy

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for files on their way; it goes with the block, or with the first block after a kill."""
        self._sweep()
        folder = self._staging / uuid.uuid4().hex
        lock = FileLock(f"{folder}.lock")
        folder.mkdir(parents=True)
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)

    def _lock(self, digest: str) -> FileLock:
        # 256 lock files that stay: removing one would let two processes lock two files of the same name.
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / f"{digest[:2]}.lock")

    def _sweep(self) -> None:
        """Removes the staging folders of processes that were killed: the kernel has freed their locks."""
        for folder in self._staging.glob("*"):
            lock = FileLock(folder if folder.suffix == ".lock" else f"{folder}.lock")
            try:
                if time.time() - folder.stat().st_mtime < _OWNERLESS_SECONDS:
                    continue
                with lock.acquire(blocking=False):
                    shutil.rmtree(folder.with_suffix(""), ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)
            except (Timeout, FileNotFoundError):
                continue

    def _evict(self) -> None:
        entries = sorted((used, entry) for entry in self._objects.iterdir() if (used := _last_used(entry)))
        sizes = {entry: _size(entry) for _, entry in entries}
        excess = sum(sizes.values()) - (cache_limit() if self._limit is None else self._limit)
        for _, entry in entries:
            if excess <= 0:
                break
            if self._evicted(entry):
                excess -= sizes[entry]

    def _evicted(self, entry: Path) -> bool:
        try:
            with self._lock(entry.name).acquire(blocking=False):
                if time.time() - entry.stat().st_mtime < IN_USE_SECONDS:
                    return False
                with self.staging() as folder:  # leaves the cache whole if the removal is interrupted
                    entry.rename(folder / "entry")
                _intact.discard(str(entry))
                return True
        except (Timeout, FileNotFoundError):  # somebody is using it, or has evicted it
            return False


def _last_used(entry: Path) -> float:
    """Seconds since the epoch; 0 if another process has evicted it."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # evicted in this moment
            continue
    return total
