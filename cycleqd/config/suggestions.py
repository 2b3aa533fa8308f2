"""What somebody may have meant who names a setting that there is none of."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from cycleqd.config.named import NamedSection

_LISTED: Final = 12
"""Settings of a section that are named where none is close; larger sections are left to the documentation."""
_SHOWN: Final = 3


def suggestion(model: type[BaseModel], location: Sequence[int | str], data: Any) -> str:
    """The end of a message about an unknown setting; empty where nothing helps.

    What was given below the unknown name counts: of ``search.mutation.w_max``, ``mutation`` is unknown and
    ``mutation.w_max`` is meant. Otherwise close names in the same section come first, then settings of that very name
    elsewhere, then settings that have it as a value, then all of the section's.

    Args:
        model: The whole configuration's class.
        location: The path of the unknown setting.
        data: What was to be validated, which says what a section that chooses by name has chosen.
    """
    *above, key = location
    names = [name for section in _sections(model, above) for name in _settings(section, _at(data, above))]
    paths = [path for path, _ in _paths(model)]
    meant = _meant_with_what_is_below(_at(data, location), above, str(key), names, paths)
    meant = meant or [_path(above, name) for name in _close(str(key), names)]
    meant = meant or [path for path in paths if path.rpartition(".")[2] == key]
    meant = meant or [f"{path}={key}" for path, kind in _paths(model) if key in _values(kind)]
    if meant:
        return f"; did you mean {' or '.join(meant[:_SHOWN])}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= _LISTED else ""


def _meant_with_what_is_below(
    given: Any, above: Sequence[int | str], key: str, names: Sequence[str], paths: Sequence[str]
) -> list[str]:
    """Settings that end like the path to what was given; else those that leave the unknown name out of it."""
    if not isinstance(given, Mapping):
        return []
    below = [key]
    while isinstance(given, Mapping) and len(given) == 1:
        ((name, given),) = given.items()
        below.append(str(name))
    ends = [path for path in paths if f".{path}".endswith(f".{'.'.join(below)}")]
    return ends or [_path(above, name) for name in names if name == below[-1] != key]


def _path(above: Sequence[int | str], name: str) -> str:
    return ".".join(map(str, (*above, name)))


def _close(key: str, names: Sequence[str]) -> list[str]:
    """Names that are spelled like the key, in capitals or not."""
    found = difflib.get_close_matches(key.casefold(), names, n=_SHOWN, cutoff=0.6)
    return found or difflib.get_close_matches(key, names, n=_SHOWN, cutoff=0.6)


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


def _values(kind: Any) -> list[Any]:
    """The words that a setting of that type may be."""
    return [value for arm in _arms(kind) if get_origin(arm) is Literal for value in get_args(arm)]


def _paths(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """All settings whose path holds no name or number that a user chooses, and their types."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}", field.annotation
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
