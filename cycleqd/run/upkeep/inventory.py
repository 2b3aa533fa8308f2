"""All objects under a run, as one listing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cycleqd.run.store import RunStore
from cycleqd.storage import SUFFIX


class Inventory:
    """What a run's folder holds, as of now.

    Attributes:
        sizes: Bytes per key, of checksum files too.

    Args:
        store: The run.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.sizes = store.sizes()

    def __contains__(self, key: str) -> bool:
        return key in self.sizes

    def under(self, folder: str) -> list[str]:
        """Keys in `folder`, at any depth."""
        return [key for key in self.sizes if key.startswith(f"{folder}/")]

    def remove(self, keys: Iterable[str]) -> int:
        """Removes objects together with their checksums, and folders that became empty; returns the bytes freed."""
        freed = 0
        for key in keys:
            self._store.remove(key.removesuffix(SUFFIX))
            for name in (key.removesuffix(SUFFIX), f"{key.removesuffix(SUFFIX)}{SUFFIX}"):
                freed += self.sizes.pop(name, 0)
            if self._store.is_local:
                _remove_empty(Path(self._store.url(key)).parent, Path(self._store.url()))
        return freed


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
