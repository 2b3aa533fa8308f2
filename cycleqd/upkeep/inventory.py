"""All objects under a run, as one listing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from cycleqd.store import RunStore

SIDECAR = ".sha256"
"""Ends the name of an object's checksum, which lies beside it."""


class Inventory:
    """What a run's folder holds, as of now.

    Attributes:
        sizes: Bytes per key.

    Args:
        store: The run.
    """

    def __init__(self, store: RunStore) -> None:
        self._fs, root = fsspec.core.url_to_fs(store.storage)
        self._root = f"{root.rstrip('/')}/{store.run_id}"
        self._fs.invalidate_cache(self._root)
        found = self._fs.find(self._root, detail=True)
        start = len(self._root) + 1
        self.sizes: dict[str, int] = {path[start:]: int(info["size"] or 0) for path, info in sorted(found.items())}

    def __contains__(self, key: str) -> bool:
        return key in self.sizes

    def under(self, folder: str) -> list[str]:
        """Keys in `folder`, at any depth."""
        return [key for key in self.sizes if key.startswith(f"{folder}/")]

    def remove(self, keys: Iterable[str]) -> int:
        """Removes objects together with their checksums, and folders that became empty; returns the bytes freed.

        The object goes first: a checksum without its object is a known leftover, the reverse would be suspicious.
        """
        freed = 0
        for key in keys:
            for name in (key, f"{key}{SIDECAR}"):
                if name in self.sizes:
                    freed += self.sizes.pop(name)
                    self._fs.rm_file(f"{self._root}/{name}")
            if isinstance(self._fs, LocalFileSystem):
                _remove_empty(Path(f"{self._root}/{key}").parent, Path(self._root))
        return freed


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
