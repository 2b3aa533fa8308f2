"""SHA-256 of large files that hardly ever change, such as checkpoints: computed once, then remembered.

What is remembered holds as long as size, times of change and inode are the same. The time of the last change of the
inode (``ctime``) is among them: unlike the modification time no program can set it back, so that a file that was
swapped by ``cp -p`` or ``rsync -a`` is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from cycleqd.storage import cache_dir
from cycleqd.storage.checksums import of_file

REMEMBERED_BYTES = 2**20
"""Smaller files are read every time."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    real = path.resolve()
    state = _state(real)
    if state[0] < REMEMBERED_BYTES:
        return of_file(real)
    memory = cache_dir() / "hashes" / f"{hashlib.sha256(str(real).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # whatever is wrong with it, it is made anew
        known = json.loads(memory.read_bytes())
        if known["state"] == state:
            return str(known["sha256"])
    digest = of_file(real)
    if _state(real) == state:
        _remember(memory, {"path": str(real), "state": state, "sha256": digest})
    return digest


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _remember(memory: Path, content: dict[str, object]) -> None:
    with suppress(OSError):  # a cache that cannot be written only costs time
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_name(f"{memory.name}.{uuid.uuid4().hex}")
        partial.write_text(json.dumps(content))
        os.replace(partial, memory)
