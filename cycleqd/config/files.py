"""Reading a configuration's text: a profile or a YAML file, and changes from the command line, as plain data.

What the YAML means is said in `cycleqd.plain_yaml`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cycleqd.faults import ConfigError, shown_name
from cycleqd.plain_yaml import MOST_BYTES, read_yaml
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

_PATH: Final = 16
"""Fields on the way to the one that a change names."""
_ITEMS: Final = 200
"""Characters of the list of items that a message shows."""
_MOST_FAULTS: Final = 50
"""That are listed; who has more has given another file."""
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


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
                    meant = difflib.get_close_matches(key, [*node], n=1)
                    way_out = f"; did you mean {meant[0]}?" if meant else ", and its items can't be changed: give all"
                    raise ConfigError(f"{shown}: {key} is not in the file{way_out}")
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
        where = ".".join(map(shown_name, fault["loc"])) or "(whole)"
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
