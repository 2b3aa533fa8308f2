"""YAML as it is read here: plain data, without surprises.

Words and numbers mean what they mean in YAML 1.2: ``010`` is not 8, ``no`` is not false, ``1:30`` is not 90, and
``2024-01-01`` is no date. They are texts, and a field that wants a number refuses them. Refused in one line are tags,
merge keys, a key that is given twice, and what is too large, too deep, or grows too large by its aliases.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final

import yaml

from cycleqd.faults import ConfigError, shown_name

MOST_BYTES: Final = 256 * 1024
"""Of a file, or of one change's value."""
_DEPTH: Final = 32
"""Of what lies within each other, aliases followed."""
_SIZE: Final = 20_000
"""Of the whole, aliases followed: one for each value and for each `_SIGNS` characters."""
_SIGNS: Final = 32

_BOOLEAN: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL: Final = re.compile(r"^(?:~|null|Null|NULL|)$")
_INTEGER: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,300})$")
_REAL: Final = re.compile(
    r"^(?:[-+]?(?:\.[0-9]{1,300}|(?:0|[1-9][0-9]{0,300})(?:\.[0-9]{0,300})?)(?:[eE][-+]?[0-9]{1,5})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_MERGE: Final = "<<"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- how PyYAML wants it; those of YAML 1.1 go

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are texts and differ."""
        known: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                fault = f"a key must be a text, got {type(key).__name__}"
                raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
            if key == _MERGE:
                fault = f"merge keys ({_MERGE}) are not read: write the settings out"
                raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
            if key in known:
                fault = f"the key {shown_name(key)} is given twice"
                raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
            known.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    pass


for _kind, _pattern, _starts in (
    ("bool", _BOOLEAN, "tTfF"),
    ("int", _INTEGER, "-+0123456789"),  # ahead of the floats, of which the pattern makes no difference
    ("float", _REAL, "-+.0123456789"),
    ("null", _NULL, ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_starts))
    # A text that reads as a number to us or to YAML 1.1 is written in quotes.
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_starts))


def write_yaml(data: Any) -> str:
    """Plain data as YAML that both this module and readers of YAML 1.1 read back to the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def read_yaml(text: str, place: str) -> Any:
    """Plain data of one YAML document.

    Args:
        text: The document.
        place: For messages, which show nothing else of the text than a key or two.

    Raises:
        ConfigError: It is none, or too large, or means something by tags.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{place}: longer than {MOST_BYTES // 1024} KiB, too long for a configuration")
    try:
        _refuse_the_monstrous(text)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 -- derived from the safe one
    except yaml.reader.ReaderError as error:
        sign = error.character if isinstance(error.character, int) else ord(error.character)
        raise ConfigError(f"{place}: not a YAML text: character U+{sign:04X} at {error.position}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{place}: not valid YAML: {_one_line(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not valid YAML ({type(error).__name__})") from None
    # A change to what one alias names must not change what the others do.
    return _unshared(data)


def _refuse_the_monstrous(text: str) -> None:
    """Reads the document's events, one after the other, before anything is built of them.

    Raises:
        yaml.YAMLError: It is no YAML, or has a tag, or is too deep or too large, aliases followed.
    """
    loader = _Loader(text)
    whole: dict[str, tuple[int, int]] = {}  # size and height of what an anchor names
    opened: list[list[Any]] = [["", 0, 0]]  # anchor, size and height so far of what is open
    documents = 0
    while loader.check_event():
        event: Any = loader.get_event()  # type: ignore[no-untyped-call]
        fault = size = None
        height = 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            fault = "more than one document" if documents > 1 else None
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in whole:
                size, height = whole[event.anchor]
            else:
                fault = "an alias of nothing before it"
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append([event.anchor, 1, 0])
            fault = "a tag, which is not read here" if event.tag is not None else None
        elif isinstance(event, yaml.ScalarEvent):
            size = 1 + len(event.value) // _SIGNS
            fault = "a tag, which is not read here" if event.tag is not None else None
            if event.anchor:
                whole[event.anchor] = size, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size, height = opened.pop()
            height += 1
            if anchor:
                whole[anchor] = size, height
        if size is not None:
            opened[-1][1] += size
            opened[-1][2] = max(opened[-1][2], height)
        if len(opened) + height > _DEPTH + 1:
            fault = f"more than {_DEPTH} levels within each other"
        elif opened[-1][1] > _SIZE:
            fault = "too much in all, aliases followed"
        if fault:
            raise yaml.MarkedYAMLError(None, None, fault, event.start_mark)


def _unshared(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _unshared(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_unshared(value) for value in data]
    return copy.copy(data)


def _one_line(error: yaml.MarkedYAMLError) -> str:
    """What is wrong and where, without the text around it, which may be of a file that is no configuration."""
    problem = " ".join(str(error.problem or error.context or type(error).__name__).split())[:120]
    mark = error.problem_mark or error.context_mark
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem
