"""Reading AgentBench's database tasks (``data/dbbench/*.jsonl`` of a checkout): one JSON object a line.

A record has the question, the table with its rows, and what it is judged by: `label` (the answer's values) where the
table is asked about, `answer_md5` and the gold statements (`label` again) where it is changed. Every column becomes
TEXT, whatever its record says, and every value text, as in AgentBench.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cycleqd.sandbox.database import IDENTIFIER_CHARACTERS, folded
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Problem
from cycleqd.skills.protocol import Skipped

FILES: Final = tuple(
    f"{folder}{name}.jsonl"
    for name in ("standard", "dev")
    for folder in ("data/dbbench/", "*/data/dbbench/", "agentbench/dbbench/", "dbbench/", "")
)
"""Where a folder of data or a checkout has the tasks; the standard set before the small development set."""
CHANGES: Final = ("INSERT", "UPDATE", "DELETE")
"""Types judged by the table's state; all others are questions."""


class MalformedRecord(ValueError):
    """A record of the data that can't be played; the text says why."""


def read_problems(path: Path) -> tuple[list[Problem], list[Skipped]]:
    """Reads a file of tasks.

    Args:
        path: JSON Lines, or a JSON array where the name ends in ``.json``.

    Returns:
        The playable tasks and the others with the reason; ids are hashes of the whole record, so they stay the same
        when the file grows.

    Raises:
        DataUnavailable: The file is no JSON of that form.
    """
    problems: list[Problem] = []
    skipped: list[Skipped] = []
    seen: Counter[str] = Counter()
    for record in _records(path):
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
        seen[digest] += 1
        name = f"dbbench/{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else "")
        try:
            kind, content, data = _parsed(record)
        except MalformedRecord as fault:
            skipped.append(Skipped(name, str(fault)))
        else:
            problems.append(Problem(name, kind, content, data))
    return problems, skipped


def _records(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        # Not splitlines(): a JSON string may hold the other characters that end a line of text.
        lines = [line for line in text.split("\n") if line.strip()]
        records = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"{path}: expected AgentBench's tasks, one JSON object a line: {error}") from error
    if not isinstance(records, list) or not records:
        raise DataUnavailable(f"{path}: expected a list of AgentBench's database tasks")
    return records


def _parsed(record: Any) -> tuple[str, str, Mapping[str, Any]]:
    """The kind, the text and the facts of one task.

    Raises:
        MalformedRecord: It can't be played.
    """
    try:
        kind = record["type"] if isinstance(record["type"], str) else str(record["type"][0])
        question, note = str(record["description"]), str(record.get("add_description") or "")
        table = record["table"]
        name, info = str(table["table_name"]), table["table_info"]
        columns = [str(column["name"]) for column in info["columns"]]
        rows = [[_as_text(value) for value in row] for row in info["rows"]]
        label = record["label"]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedRecord(f"malformed record: {type(error).__name__} {error}") from error
    _check_table(name, columns, rows)
    changes = kind in CHANGES
    label = [label] if isinstance(label, str | int | float) else label
    if not isinstance(label, list) or any(isinstance(value, list | dict) for value in label):
        raise MalformedRecord("malformed record: the label is no list of values")
    md5 = record.get("answer_md5")
    if changes and not isinstance(md5, str):
        raise MalformedRecord("malformed record: a change of the table without answer_md5")
    if changes and not all(isinstance(statement, str) for statement in label):
        raise MalformedRecord("malformed record: the label is no list of statements")
    problem = f"{question}\n{note}".strip()
    facts = {"problem": problem, "kind": kind, "table": name, "columns": columns, "rows": rows, "label": label}
    return kind, problem, {**facts, "md5": md5} if changes else facts


def _as_text(value: Any) -> str | None:
    """A value as the server's text of it.

    Raises:
        TypeError: It is nothing that a client could insert.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))  # MySQL's TRUE is 1
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"a row holds {str(value)[:50]!r}, which is neither text nor number nor null")


def _check_table(name: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Finds what no server would load, before an episode stumbles over it.

    Raises:
        MalformedRecord: With the reason.
    """
    for identifier in (name, *columns):
        what = "the table's name" if identifier is name else f"a column name ({identifier!r})"
        if not identifier:
            raise MalformedRecord("the table can't be loaded: a name (of a column) is empty, which the server refuses")
        if len(identifier) > IDENTIFIER_CHARACTERS:
            raise MalformedRecord(f"the table can't be loaded: {what} is longer than {IDENTIFIER_CHARACTERS}")
        if identifier.endswith(" ") or "\0" in identifier:
            raise MalformedRecord(f"the table can't be loaded: {what} ends in a space or holds NUL")
    if not columns or len(set(map(folded, columns))) != len(columns):
        raise MalformedRecord("the table can't be loaded: columns are missing or share a name")
    if any(len(row) != len(columns) for row in rows):
        raise MalformedRecord("the table can't be loaded: a row has more or fewer values than there are columns")
