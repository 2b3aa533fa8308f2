"""BigCodeBench's problems, as its package and the hub have them: JSON lines, one problem each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from cycleqd.storage import cache_dir

HUB: Final = "bigcode/bigcodebench"
VERSION: Final = "v0.1.4"
"""The hub's split, which its versions are."""
FIELDS: Final = (
    *("task_id", "complete_prompt", "instruct_prompt", "code_prompt", "canonical_solution", "test", "entry_point"),
)


def read(path: Path) -> list[Mapping[str, str]]:
    """The problems of a file, which may be packed by gzip.

    Raises:
        DataUnavailable: It is no such file; the text says where it is wrong.
    """
    rows: list[Mapping[str, str]] = []
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            if missing := [field for field in FIELDS if not isinstance(row.get(field), str)]:
                raise ValueError(f"problem {number} has no text {', '.join(missing)}")
            rows.append({field: row[field] for field in FIELDS})
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise DataUnavailable(f"{path} is no file of BigCodeBench's problems ({error})") from error
    names = [row["task_id"] for row in rows]
    if not rows or len(set(names)) < len(names):
        raise DataUnavailable(f"{path} has {'a problem twice' if rows else 'no problem'}")
    return rows


def download() -> Path:
    """The hub's problems as a file in the cache folder.

    Raises:
        DataUnavailable: They cannot be had.
    """
    path = cache_dir() / f"BigCodeBench-{VERSION}.jsonl"
    if path.exists():
        return path
    try:
        import datasets

        rows: Any = datasets.load_dataset(HUB, split=VERSION)
    except Exception as error:  # whatever the hub's libraries raise
        raise DataUnavailable(f"the download of {HUB} failed ({error})") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".part")
    whole.write_text("".join(f"{json.dumps({field: row[field] for field in FIELDS})}\n" for row in rows), "utf-8")
    whole.replace(path)
    return path
