"""Values as Prefect's form stores them in a schedule's parameters, which nothing turns into plain data again.

The form wraps the value of a field that it has no widget for, a mapping, as ``{"__prefect_kind": "json", "value":
"..."}``. Prefect's server unwraps the parameters of a run that is started by hand, but not those of a schedule.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

KIND: Final = "__prefect_kind"
"""The key by which such a value is known; no setting is called like this."""

_NOTHING: Final = object()
"""A value that nobody filled in: its field is left out."""
_DEPTH: Final = 64

Path = tuple[str | int, ...]


class Unreadable(NamedTuple):
    """A wrapped value that cannot be unwrapped."""

    path: Path
    why: str
    value: Any


def plain(value: Any) -> tuple[Any, list[Unreadable]]:
    """The value with all that Prefect wrapped unwrapped, at any depth; and what could not be."""
    faults: list[Unreadable] = []
    found = _plain(value, (), faults)
    return None if found is _NOTHING else found, faults


def _plain(value: Any, path: Path, faults: list[Unreadable]) -> Any:
    if len(path) > _DEPTH:  # nothing of ours is so deep, and validation says so
        return value
    if isinstance(value, dict):
        if KIND in value:
            return _unwrapped(value, path, faults)
        items = {key: _plain(inner, (*path, key), faults) for key, inner in value.items()}
        return {key: inner for key, inner in items.items() if inner is not _NOTHING}
    if isinstance(value, list):
        inners = [_plain(inner, (*path, number), faults) for number, inner in enumerate(value)]
        return [inner for inner in inners if inner is not _NOTHING]
    return value


def _unwrapped(wrapped: dict[str, Any], path: Path, faults: list[Unreadable]) -> Any:
    kind, value = wrapped[KIND], wrapped.get("value", _NOTHING)
    if kind not in ("json", "none"):
        why = f"Prefect does not fill in {kind!r} where a schedule has parameters of its own: write the value itself"
        faults.append(Unreadable(path, why, kind))
        return _NOTHING
    if kind == "json" and isinstance(value, str):
        if not value.strip():
            return _NOTHING
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            faults.append(Unreadable(path, f"expected JSON: {error}", value))
            return _NOTHING
    return value if value is _NOTHING else _plain(value, path, faults)
