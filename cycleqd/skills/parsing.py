"""Reading a model's text: fenced blocks and literals. Nothing read here is ever executed on this machine."""

from __future__ import annotations

import ast
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

T = TypeVar("T")

MAX_REPLY_CHARS: Final = 8_000
"""Longer replies are cut before parsing; a reply within the token budget is far shorter."""
LONG_REPLY_CHARS: Final = 100_000
"""The same where references are long: AgentBench's longest labels, statements and scripts fit."""
MAX_LITERAL_CHARS: Final = 16_384
"""Longer texts are no literals to us: parsing time and memory grow with the text."""

END_OF_BLOCK: Final = ("```\n\n", "```\n```")
"""Ends a reply: what follows a code block is chatter, or blocks without end. Neither opens a block with a language."""

_ATTEMPTS: Final = 10
_parsing = threading.Lock()
"""CPython 3.11 counts the depth of all threads' syntax trees in one place, and raises SystemError when parses of two
threads interleave (python/cpython#106905). The lock keeps ours apart; libraries' parses remain, hence the attempts."""

_LITERAL_FAULTS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class LiteralError(ValueError):
    """The text is not a plain Python literal, or too long to be read as one."""


def read_literal(text: str, *, max_chars: int = MAX_LITERAL_CHARS, strip: bool = True) -> Any:
    """Parses a Python literal (numbers, strings, containers) without evaluating anything.

    Args:
        text: The literal.
        max_chars: Longer texts are refused.
        strip: Whether all kinds of space around it are ignored; else only what Python's `eval` ignores, which is no
            space of other alphabets.

    Raises:
        LiteralError: The text is something else, nests too deeply, or has more than `max_chars` characters.
    """
    if len(text) > max_chars:
        raise LiteralError(f"{len(text)} characters, at most {max_chars} are read")
    try:
        return alone(lambda: ast.literal_eval(text.strip() if strip else text))
    except _LITERAL_FAULTS as fault:
        raise LiteralError(f"{type(fault).__name__}: not a literal") from None


def alone(parse: Callable[[], T]) -> T:
    """What `parse` returns, which parses Python in a thread that is not the only one to do so."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(SystemError), _parsing:
            return parse()
    return parse()


def blocks(text: str, opening: str, closing: str = "\n```") -> Iterator[str]:
    """What stands between `opening` and the next `closing`, again and again, in linear time.

    As ``re.findall(opening + "(.*?)" + closing, text, re.DOTALL)``, which takes quadratic time where nothing closes.
    """
    end = 0
    while (start := text.find(opening, end)) >= 0:
        start += len(opening)
        at = text.find(closing, start)
        if at < 0:
            return
        yield text[start:at]
        end = at + len(closing)


def fenced_block(text: str, languages: tuple[str, ...], *, cut: bool = False) -> str | None:
    """The content of the first ``` block in `text` whose language is one of `languages` or not given.

    Args:
        text: A reply.
        languages: Names that the block's opening fence may carry, in lower case.
        cut: Whether a block that names its language may lack the closing fence, as in a reply that `END_OF_BLOCK`
            ended.

    Returns:
        The block without its fences and outer blank lines; None when there is no such block.
    """
    text = text[:MAX_REPLY_CHARS]
    for match in re.finditer(r"```([A-Za-z0-9+]*)[ \t]*\r?\n(.*?)```", text, re.DOTALL):
        if match[1].lower() in ("", *languages):
            return match[2].strip("\r\n").rstrip()
    rest = re.search(r"```([A-Za-z0-9+]+)[ \t]*\r?\n((?:(?!```).)*)\Z", text, re.DOTALL) if cut else None
    return rest[2].strip("\r\n").rstrip() if rest and rest[1].lower() in languages else None
