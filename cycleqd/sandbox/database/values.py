"""What goes into a database and what comes out: tables, results, names."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

IDENTIFIER_CHARACTERS = 64


class UnreadableTable(ValueError):
    """A table's rows can't be read because of what the episode did; the text says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to create; every column is TEXT, NULL allowed.

    Attributes:
        name: At most 64 characters, not ending in a space.
        columns: Names, at least one, distinct (case-insensitively), like `name`.
        rows: Values in the columns' order; None is NULL.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...] = ()


class StatementResult(NamedTuple):
    """What a statement did.

    Attributes:
        rows: The result's rows up to the limits, as Python values (str, int, Decimal, datetime, None, ...).
        affected: Rows changed; 0 for a statement with a result.
        error: The server's message, ``ERROR <number>: <text>``; None on success.
        truncated: The result had more than the limits.
    """

    rows: tuple[tuple[Any, ...], ...]
    affected: int
    error: str | None
    truncated: bool


def failed(error: str) -> StatementResult:
    """The result of a statement that did nothing but fail."""
    return StatementResult((), 0, error, False)


def quoted(identifier: str) -> str:
    """An identifier in backticks.

    Raises:
        ValueError: No table or column can have that name.
    """
    if not 0 < len(identifier) <= IDENTIFIER_CHARACTERS or identifier.endswith(" ") or "\0" in identifier:
        raise ValueError(
            f"identifier {identifier!r} must have 1 to {IDENTIFIER_CHARACTERS} characters, no NUL, no space at the end"
        )
    return "`" + identifier.replace("`", "``") + "`"


def folded(name: str) -> str:
    """What a name of a column is to the servers: without case and accents, of which neither makes another name."""
    plain = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    return plain.replace("ß", "s").casefold()


def check(table: Table) -> None:
    """Raises ValueError unless columns and rows fit together; what else is wrong the server says."""
    if not table.columns or len(set(map(folded, table.columns))) != len(table.columns):
        raise ValueError(f"table {table.name!r} needs at least one column, all distinct, got {table.columns}")
    for row in table.rows:
        if len(row) != len(table.columns) or not all(value is None or isinstance(value, str) for value in row):
            raise ValueError(f"table {table.name!r}: {row!r} must be {len(table.columns)} texts or None")


def creation(table: Table) -> str:
    """The statement that creates a table."""
    columns = ", ".join(f"{quoted(column)} TEXT" for column in table.columns)
    return f"CREATE TABLE {quoted(table.name)} ({columns})"


def insertion(table: Table) -> str:
    """The statement that inserts a row, with a mark for each value, as PyMySQL wants it (a ``%`` is doubled)."""
    into = quoted(table.name).replace("%", "%%")
    return f"INSERT INTO {into} VALUES ({', '.join(['%s'] * len(table.columns))})"  # noqa: S608 -- quoted
