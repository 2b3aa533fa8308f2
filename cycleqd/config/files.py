"""Reading a configuration's text: a profile or a YAML file, and changes from the command line, as plain data.

Words and numbers mean what they mean in YAML 1.2: ``010`` is not 8, ``no`` is not false, ``1:30`` is not 90, and
``2024-01-01`` is no date. They are texts, and a field that wants a number refuses them. Refused in one line are tags,
a key that is given twice, and what is too large, too deep, or grows too large by its aliases.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cycleqd.faults import MendableFault
from cycleqd.urls import without_credentials

PROFILES = (
    "demo",
    "smol",
    "paper",
    "paper-full",
    "sam-demo",
    "sam-photos",
    "paper-sam",
    "vlm-demo",
    "paper-vqa",
    "benchmarks-cpu",
)
"""Names of the configurations that ship with the package (``cycleqd/profiles/<name>.yaml``)."""

MOST_BYTES: Final = 256 * 1024
"""Of a file, or of one change's value."""
_DEPTH: Final = 32
"""Of what lies within each other, aliases followed."""
_SIZE: Final = 20_000
"""Of the whole, aliases followed: one for each value and for each `_SIGNS` characters."""
_SIGNS: Final = 32
_PATH: Final = 16
"""Fields on the way to the one that a change names."""
_ITEMS: Final = 200
"""Characters of the list of items that a message shows."""
_MOST_FAULTS: Final = 50
"""That are listed; who has more has given another file."""
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

_BOOLEAN: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL: Final = re.compile(r"^(?:~|null|Null|NULL|)$")
_INTEGER: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,300})$")
_REAL: Final = re.compile(
    r"^(?:[-+]?(?:\.[0-9]{1,300}|(?:0|[1-9][0-9]{0,300})(?:\.[0-9]{0,300})?)(?:[eE][-+]?[0-9]{1,5})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class ConfigError(MendableFault, ValueError):
    """A configuration cannot be used; the text lists every fault with its field's path."""


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
            if key in known:
                fault = f"the key {_name(key)} is given twice"
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


def read_settings(
    name_or_path: str, overrides: tuple[str, ...] = (), *, offered: str = f"the profiles are {', '.join(PROFILES)}"
) -> dict[str, Any]:
    """What a profile or file says, with changes, not validated yet.

    Args:
        name_or_path: One of `PROFILES`, or a path.
        overrides: ``dotted.path=value`` pairs, the value in YAML; list items by number (``skills.0.train=8``).
        offered: What the message about a missing file says that there is by name.

    Raises:
        ConfigError: The file is missing or is no YAML mapping, or a change leads nowhere.
    """
    if name_or_path in PROFILES:
        text = resources.files("cycleqd").joinpath("profiles", f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        text = _text(name_or_path, offered)
    data = read_yaml(text, name_or_path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name_or_path}: expected a mapping at the top, got {type(data).__name__}")
    for override in overrides:
        _apply(data, override)
    return data


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


def _text(path: str, offered: str) -> str:
    file = Path(path)
    try:
        if not file.is_file():
            raise ConfigError(f"{path}: no such file; {offered}")
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: longer than {MOST_BYTES // 1024} KiB, too long for a configuration")
    if content.startswith(_WIDE_MARKS):
        raise ConfigError(f"{path}: is UTF-16 or UTF-32 text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


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


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    keys = path.split(".")
    shown = f"override {_shown(override)}"
    if not equals or len(keys) > _PATH or not all(re.fullmatch(r"[\w-]{1,100}", key) for key in keys):
        raise ConfigError(f"{shown}: expected dotted.path=value")
    node: Any = data
    for position, key in enumerate(keys[:-1]):
        if isinstance(node, list):
            if not re.fullmatch(r"[0-9]{1,9}", key) or int(key) >= len(node):
                raise ConfigError(f"{shown}: no list item {key}{_items(node, key)}")
            node = node[int(key)]
        else:
            if node.get(key) is None:
                if keys[position + 1].isdecimal():
                    raise ConfigError(f"{shown}: {key} is not in the file, and its items can't be changed: give all")
                node[key] = {}
            node = node[key]
        if not isinstance(node, dict | list):
            raise ConfigError(f"{shown}: {key} has no fields")
    if isinstance(node, list):
        raise ConfigError(f"{shown}: name a field of the list item")
    node[keys[-1]] = read_yaml(value, f"override {path}")


def _items(items: list[Any], key: str) -> str:
    """What a list has in place of the item that a change names: numbers, and the names beside them."""
    named = [item.get("name") or item.get("method") if isinstance(item, dict) else None for item in items]
    if key in named:
        return f"; did you mean {named.index(key)}, which is {key}?"
    shown = [f"{number} ({name})" if name else str(number) for number, name in enumerate(named)]
    return f"; there are {', '.join(shown)}"[:_ITEMS] if items else "; the list is empty"


def _shown(override: str) -> str:
    return f"{without_credentials(repr(override)):.200}"


def explain(error: ValidationError, source: str, suggest: Callable[[tuple[int | str, ...]], str] | None = None) -> str:
    """A configuration's faults, one a line: the field's path, what is wrong, what came.

    Args:
        error: What validation found.
        source: Where the configuration is from.
        suggest: Gives the end of the line about a field that there is none of, by its path.
    """
    faults = list(_told(error.errors()))
    lines = [f"{source}: {len(faults)} fault(s)"]
    for fault in faults[:_MOST_FAULTS]:
        where = ".".join(map(_name, fault["loc"])) or "(whole)"
        meant = suggest(fault["loc"]) if suggest and fault["type"] == "extra_forbidden" else ""
        lines.append(f"  {where:.200}: {fault['msg']}{_got(fault['type'], fault['input'])}{meant}")
    if (more := len(faults) - _MOST_FAULTS) > 0:
        lines.append(f"  and {more} more")
    return "\n".join(lines)


def _told(faults: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """All faults but those that follow from others: pydantic calls a list too short whose items are at fault."""
    for fault in faults:
        where = fault["loc"]
        items = (one["loc"] for one in faults if len(one["loc"]) > len(where))
        if fault["type"] != "too_short" or all(item[: len(where)] != where for item in items):
            yield fault


def _name(key: object) -> str:
    """A field's name; the line of another file that was read as one may be a password."""
    return str(key) if re.fullmatch(r"[\w-]{1,48}", str(key)) and str(key).isprintable() else "(no name)"


def _got(kind: str, value: Any) -> str:
    """What came, where it helps: not the value of a field that there is none of, which may be a password."""
    if kind == "extra_forbidden":
        return ""
    if isinstance(value, dict | list | tuple | set | BaseModel):
        # What a whole section or list says is at fault, not that it is one.
        return "" if kind == "value_error" else f" (got {type(value).__name__})"
    return f" (got {without_credentials(_printable(repr(value)[:1000])):.80})"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)
