"""What AgentBench's shell tasks compare answers with: its five comparators and `match`, on the host.

The answer is a model's, so nothing here takes long on any text: texts are cut, patterns run against a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import regex

from cycleqd.skills.parsing import LONG_REPLY_CHARS

MATCH_SECONDS: Final = 1.0
"""For one pattern on one answer: Python's own `re` would backtrack for ever on some."""
_UNITS: Final = {"B": 0, "Byte": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
"""Powers of 1024. AgentBench's script lists ``KB`` and its like, too, but looks for the ``B`` first: then ``1K`` is
left, which is no integer."""


def same_integer(answer: str, wanted: str) -> bool:
    """``integer-match``: both are integers, and equal."""
    try:
        return int(answer) == int(wanted)
    except ValueError:
        return False


def same_text(answer: str, wanted: str) -> bool:
    """``string-match``: equal but for the kind of line ends and the space around."""
    return _normalised(answer) == _normalised(wanted)


def contains(answer: str, wanted: str) -> bool:
    """``containing``: the wanted text is somewhere in the answer."""
    return _normalised(wanted) in _normalised(answer)


def is_in(answer: str, wanted: str) -> bool:
    """``in``: the answer is somewhere in the wanted text."""
    return _normalised(answer) in _normalised(wanted)


def same_size(answer: str, wanted: str) -> bool:
    """``size-match``: both are integers, maybe with a unit (B, Byte, K, M, G, T, P), and equal in bytes."""
    size = _bytes(answer)
    return size is not None and size == _bytes(wanted)


COMPARATORS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "integer-match": same_integer,
    "string-match": same_text,
    "containing": contains,
    "in": is_in,
    "size-match": same_size,
}
"""By the name of AgentBench's script; called with the answer and the example's output."""


def matches(answer: str, match: Mapping[str, str]) -> bool:
    """``match``: the stripped answer equals ``answer``, or ``regex`` is found in it.

    Args:
        answer: The model's text.
        match: One of the two keys; the pattern is valid (`is_pattern`).
    """
    text = answer[:LONG_REPLY_CHARS].strip()
    if "answer" in match:
        return text == match["answer"]
    try:
        return regex.search(match["regex"], text, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        return False


def is_pattern(pattern: str) -> bool:
    """Whether a pattern can be used."""
    try:
        regex.compile(pattern)
    except regex.error:
        return False
    return True


def answer_of(match: Mapping[str, str]) -> str | None:
    """An answer that matches, where one can be read off: the text itself, or a pattern that stands for itself."""
    if "answer" in match:
        return match["answer"]
    plain = match["regex"].removeprefix("^").removesuffix("$").replace("\\", "")
    return plain if matches(plain, match) else None


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _bytes(text: str) -> int | None:
    number, power = text.strip(), 0
    for unit, known in _UNITS.items():
        if number.endswith(unit):
            number, power = number.removesuffix(unit), known
            break
    try:
        return int(number) << 10 * power
    except ValueError:
        return None
