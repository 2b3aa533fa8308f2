"""Events of a run in the log: one line each, for people and for programs.

A line is logfmt, ``event=evaluation_finished run=demo generation=12 individual=g0012 skill=os score=0.458``. What an
event is about (run, generation, ...) need not be handed down: `about` binds it for a block, also for threads and tasks
that are started with a copy of the block's context, as Prefect's are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

Value = str | int | float | bool | None

log = logging.getLogger(__name__)

_about: ContextVar[Mapping[str, Value]] = ContextVar("about", default={})  # noqa: B039 - never changed in place

_PLAIN = re.compile(r"[^\s\"'=\x00-\x1f\x7f]+")


@contextmanager
def about(**fields: Value) -> Iterator[None]:
    """Adds `fields` to every event of the block."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def event(name: str, *, level: int = logging.INFO, **fields: Value) -> None:
    """Logs one event.

    Args:
        name: What happened, e.g. ``generation_committed``.
        level: How much it matters.
        fields: What is known of it; None leaves a field out. They win over those of `about`.
    """
    log.log(level, "%s", line({"event": name, **_about.get(), **fields}))


def line(fields: Mapping[str, Value]) -> str:
    """Fields as logfmt; text that is not one plain word is quoted with escapes, so that a line stays a line."""
    return " ".join(f"{key}={_text(value)}" for key, value in fields.items() if value is not None)


def parse(text: str) -> dict[str, str]:
    """The fields of a line that `line` wrote."""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', text)
    return {key: _unquoted(value) for key, value in found}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in escaped) + '"'


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(
        r"\\u\{([0-9a-f]+)\}|\\(.)",
        lambda match: chr(int(match[1], 16)) if match[1] else match[2],
        text[1:-1],
    )
