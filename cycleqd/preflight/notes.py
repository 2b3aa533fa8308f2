"""What the preflight found out and need not find out again: notes in the cache folder, one for each question."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from cycleqd.storage import cache_dir

_LIBRARIES: Final = ("jinja2", "peft", "tokenizers", "torch", "transformers")


def place(question: Any) -> Path:
    """Where the answer to a question is noted: elsewhere once a library or a file of this package is another.

    Args:
        question: All that the answer depends on besides them; plain data.
    """
    asked = json.dumps([question, [_version(name) for name in _LIBRARIES], _own_files()])
    return cache_dir() / "preflight" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"


def read(note: Path) -> list[Any] | None:
    """The noted answer; None where there is none that can be read."""
    with suppress(OSError, ValueError):
        answer = json.loads(note.read_text())
        return answer if isinstance(answer, list) else None
    return None


def write(note: Path, answer: list[Any]) -> None:
    """Notes an answer. Where that cannot be done, nothing is lost but the time to find out again."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(descriptor, "w") as file:
            json.dump(answer, file)
        os.replace(name, note)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _own_files() -> list[tuple[str, int, int]]:
    root = Path(__file__).parents[1]
    return sorted(
        (str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns) for file in root.rglob("*.py")
    )
