"""What somebody may have meant who names a setting that there is none of."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from cycleqd.config.named import NamedSection

_LISTED: Final = 12
"""Settings of a section that are named where none is close; larger sections are left to the documentation."""
_SHOWN: Final = 3


def suggestion(model: type[BaseModel], location: Sequence[int | str], data: Any) -> str:
    """The end of a message about an unknown setting; empty where nothing helps.

    Close names in the same section come first, then settings of that very name elsewhere, then all of the section's.

    Args:
        model: The whole configuration's class.
        location: The path of the unknown setting.
        data: What was to be validated, which says what a section that chooses by name has chosen.
    """
    *above, key = location
    names = [name for section in _sections(model, above) for name in _settings(section, _at(data, above))]
    if close := difflib.get_close_matches(str(key), names, n=_SHOWN, cutoff=0.6):
        return f"; did you mean {' or '.join('.'.join(map(str, (*above, name))) for name in close)}?"
    if elsewhere := [path for path in _paths(model) if path.rpartition(".")[2] == key][:_SHOWN]:
        return f"; did you mean {' or '.join(elsewhere)}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= _LISTED else ""


def _settings(section: type[BaseModel], data: Any) -> list[str]:
    names = list(section.model_fields)
    if issubclass(section, NamedSection) and isinstance(data, Mapping):
        chosen = data.get(section.NAME, section.model_fields[section.NAME].default)
        try:
            own = section.table_of(chosen).settings(chosen)
        except (ValueError, TypeError):
            return names  # the name is at fault, which is told already
        names += [name for name in own if name not in (*names, *section.ELSEWHERE)]
    return names


def _sections(model: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """The classes that may lie at a place."""
    kinds: list[Any] = [model]
    for key in location:
        kinds = [inner for kind in kinds for arm in _arms(kind) for inner in _inside(arm, key)]
    return [arm for kind in kinds for arm in _arms(kind) if _is_section(arm)]


def _arms(kind: Any) -> Iterator[Any]:
    """The alternatives of a type, without what annotates them."""
    if get_origin(kind) is Annotated:
        yield from _arms(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for arm in get_args(kind):
            yield from _arms(arm)
    else:
        yield kind


def _inside(kind: Any, key: int | str) -> Iterator[Any]:
    if _is_section(kind):
        if key in kind.model_fields:
            yield kind.model_fields[key].annotation
    elif get_args(kind):  # of a mapping the values, of a sequence the items
        yield from (inner for inner in get_args(kind)[-2:] if inner is not Ellipsis)


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """All settings whose path holds no name or number that a user chooses."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        for arm in _arms(field.annotation):
            if _is_section(arm):
                yield from _paths(arm, f"{above}{name}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _at(data: Any, location: Sequence[int | str]) -> Any:
    for key in location:
        try:
            data = data[key]
        except (LookupError, TypeError):
            return None
    return data
