"""SHA-256 of large files that hardly ever change, such as checkpoints: computed once, then remembered."""

from __future__ import annotations

from pathlib import Path

from cycleqd.storage.checksums import of_file
from cycleqd.storage.notes import recall, remember, state_of

REMEMBERED_BYTES = 2**20
"""Smaller files are read every time."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    real = path.resolve()
    state = state_of(real)
    if state[0] < REMEMBERED_BYTES:
        return of_file(real)
    if isinstance(known := recall("hashes", str(real), state), str):
        return known
    digest = of_file(real)
    if state_of(real) == state:
        remember("hashes", str(real), state, digest)
    return digest
