"""What installed packages offer through entry points."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def offered(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, as they are now: a package that was installed a moment ago is among them.

    Names are looked up for every setting that is read, and to read the metadata of 360 packages took 27 ms. It is
    read again only when a folder of the search path has changed.
    """
    return _read(group, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=16)
def _read(group: str, folders: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The group's entry points, where `folders` are the search path with the time of each folder's last change."""
    return tuple(entry_points(group=group))


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0
