"""AgentBench's rules for database answers, without its `eval` (Liu 2023, https://arxiv.org/abs/2308.03688).

Questions. The text behind ``Final Answer:`` is read as a Python literal and made a list: a list, tuple or set gives
its values, a dict its keys, a quoted string its characters; a number, and whatever is no literal, is a list of that
text as it stands, space around it included. Python's own spaces may surround a literal, no others: a list behind a
no-break space is text. Then

* one value against a label of one: both as numbers where both can be read as such (``"7"``, ``7``, ``7.0`` are the
  same; NaN equals nothing; True is 1), otherwise the two themselves, so the texts must be the same to the letter;
* in all other cases the two sets: order and repetition don't count, types do (``1`` is not ``"1"``), and a value
  that no set can hold (a list, a dict) makes the answer wrong. The empty list is right for an empty label.

Here AgentBench evaluates the text as Python code; we read literals only, so ``[3 + 4]`` is text. And an episode that
never gives an answer is wrong, where AgentBench compares the empty text.

Changes. The table's hash, printed as MySQL's client prints it, is compared with the published text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from cycleqd.skills.parsing import LONG_REPLY_CHARS, LiteralError, read_literal

CATEGORIES: Final = ("SELECT", "INSERT", "UPDATE")
"""AgentBench's headline is the mean of these categories' accuracies."""
GROUP_CONCAT_BYTES: Final = 1_024
"""MySQL's default group_concat_max_len: the published hashes of tables with more than 170 rows are cut there."""


def answer_values(text: str) -> list[Any]:
    """The values of an answer."""
    try:
        return list(read_literal(text, max_chars=LONG_REPLY_CHARS, strip=False))
    except (LiteralError, TypeError):
        return [text]


def same_answer(text: str, label: Sequence[Any]) -> bool:
    """Whether an answer is right."""
    values = answer_values(text)
    if len(values) == 1 and len(label) == 1:
        return _same_value(values[0], label[0])
    try:
        return set(values) == set(label)
    except TypeError:
        return False


def _same_value(actual: Any, expected: Any) -> bool:
    try:
        return float(actual) == float(expected)
    except (ValueError, TypeError):
        return bool(actual == expected)
    except OverflowError:  # an int beyond the floats
        return False


def table_hash(rows: Sequence[Sequence[str | None]]) -> str | None:
    """The hash of a table's content: md5(group_concat(first five digits of md5(concat_ws(',', columns)), sorted)).

    Args:
        rows: In any order; None is NULL, which concat_ws leaves out.

    Returns:
        32 hexadecimal digits, or None for an empty table.
    """
    if not rows:
        return None
    digests = sorted(_md5(",".join(value for value in row if value is not None))[:5] for row in rows)
    return _md5(",".join(digests)[:GROUP_CONCAT_BYTES])


def published_form(rows: Sequence[Sequence[str | None]]) -> str:
    """The hash of a table's content as an `answer_md5` has it, which is a client's printed rows.

    ``[('0123...',)]``; ``[(None,)]`` for an empty table.
    """
    return f"[({table_hash(rows)!r},)]"


def category(kind: str) -> str:
    """Which of AgentBench's three accuracies a type of task belongs to: all but INSERT and UPDATE are SELECT."""
    return kind if kind in CATEGORIES else CATEGORIES[0]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
