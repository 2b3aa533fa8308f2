"""Reading a user's file of problems, one JSON object a line; whatever is wrong is named with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cycleqd.skills.benchmarks.benchmark import (
    DataUnavailable,
    Problem,
    Source,
    files_sha256,
    without_excluded,
)
from cycleqd.skills.benchmarks.jsonl.choice import LETTERS
from cycleqd.skills.benchmarks.jsonl.scorers import SCORERS
from cycleqd.skills.protocol import Skipped

MOST_BYTES: Final = 64 * 2**20
_LONGEST_PROMPT: Final = 100_000
_KEYS: Final = frozenset({"prompt", "answer", "scorer", "id", "kind", "system"})
_SHOWN: Final = 5


class Records(NamedTuple):
    """What a file holds.

    Attributes:
        problems: Those that are played.
        skipped: Those that the configuration leaves out.
        version: The file's name.
        sha256: Of the file.
    """

    problems: list[Problem]
    skipped: tuple[Skipped, ...]
    version: str
    sha256: str


def read_records(source: Source, skill: str) -> Records:
    """Reads the problems of a file.

    Raises:
        DataUnavailable: There is no file, or some of its rows cannot be used; the text names their lines.
    """
    file = Path(source.data).expanduser() if source.data else None
    if file is None or not file.is_file():
        given = f", got {source.data}" if source.data else ""
        raise DataUnavailable(f"{skill}: set the skill's `data` to a file with a JSON object a line{given}")
    if file.stat().st_size > MOST_BYTES:
        raise DataUnavailable(f"{skill}: {file} is larger than {MOST_BYTES >> 20} MiB")
    problems: list[Problem] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            problem = _problem(line, number)
            if problem.id in lines:
                raise ValueError(f"its id {problem.id!r} is that of line {lines[problem.id]}, too")
        except (ValueError, RecursionError) as error:
            faults.append(f"line {number}: {' '.join(str(error).split())}")
            continue
        lines[problem.id] = number
        problems.append(problem)
    if faults:
        more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
        raise DataUnavailable(f"{skill}: {file}: {'; '.join(faults[:_SHOWN])}{more}")
    if not problems:
        raise DataUnavailable(f"{skill}: {file} holds no problems")
    kept, skipped = without_excluded(problems, source.excluded)
    return Records(kept, tuple(skipped), file.name, files_sha256([file]))


def _problem(line: bytes, number: int) -> Problem:
    row = json.loads(line.decode("utf-8-sig"))
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")
    if broken := [key for key, value in row.items() if _is_broken(value)]:
        raise ValueError(f"{broken[0]!r:.40} holds half a character")
    scorer = row.get("scorer", "exact")
    if not isinstance(scorer, str) or scorer not in SCORERS:
        raise ValueError(f"scorer must be one of {', '.join(SCORERS)}, got {scorer!r:.40}")
    if unknown := sorted(row.keys() - _KEYS - SCORERS[scorer].keys):
        raise ValueError(f"unknown key {unknown[0]!r:.40} (scorer {scorer} knows {_listed(scorer)})")
    data = {"scorer": scorer, **SCORERS[scorer].check(row)}
    prompt = _text(row, "prompt")
    if system := row.get("system"):
        data["system"] = _text(row, "system") if system else ""
    if "choices" in data:
        prompt += "\n" + "\n".join(f"{LETTERS[place]}. {text}" for place, text in enumerate(data["choices"]))
    data["prompt"] = prompt
    identifier = row.get("id", f"line/{number:05d}")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= 100:
        raise ValueError("id must be a text of at most 100 characters")
    kind = row.get("kind", scorer)
    if not isinstance(kind, str) or not 0 < len(kind) <= 40:
        raise ValueError("kind must be a text of at most 40 characters")
    return Problem(identifier, kind, " ".join(prompt.split()).casefold(), data)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_PROMPT:
        raise ValueError(f"{name} must be a text of at most {_LONGEST_PROMPT} characters")
    return value


def _is_broken(value: Any) -> bool:
    """Whether a text anywhere in a value has a surrogate without its other half, which no file can hold."""
    if isinstance(value, dict):
        return any(_is_broken(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(_is_broken, value))
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def _listed(scorer: str) -> str:
    return ", ".join(sorted(_KEYS | SCORERS[scorer].keys))
