"""What was found out and need not be found out again: notes in the cache folder, for as long as nothing changes."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from cycleqd.storage.cache import cache_dir


def state_of(path: Path) -> list[int]:
    """What changes when a file does: size, times of change, inode.

    The time of the last change of the inode (``ctime``) is among them: unlike the modification time no program can set
    it back, so that a file that was swapped by ``cp -p`` or ``rsync -a`` is another one.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def recall(kind: str, question: str, state: Any) -> Any:
    """The noted answer; None where there is none, or none of this state, or none that can be read.

    Args:
        kind: A folder of the cache.
        question: What was asked; the cache keeps one answer to it.
        state: All that the answer depends on besides; plain data, lists in place of tuples.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):  # whatever is wrong with it, it is made anew
        known = json.loads(_place(kind, question).read_bytes())
        if known["state"] == state:
            return known["answer"]
    return None


def remember(kind: str, question: str, state: Any, answer: Any) -> None:
    """Notes an answer; see `recall`. A cache that cannot be written only costs time."""
    place = _place(kind, question)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
        partial.write_text(json.dumps({"question": question, "state": state, "answer": answer}))
        os.replace(partial, place)


def _place(kind: str, question: str) -> Path:
    return cache_dir() / kind / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"
