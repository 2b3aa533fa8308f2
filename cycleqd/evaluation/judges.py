"""The version of a skill's judge: a hash of the source that decides on a reply.

That is the skill's module, what it imports of its own package, of `cycleqd.skills` and of `cycleqd.sandbox`, and the
guests, which run inside the containers. A skill that wraps another leaves the judging to it: both modules count. A
judge has no version number that somebody could forget to raise.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

from cycleqd.sandbox.channel import GUEST_DIRECTORY
from cycleqd.skills.protocol import Skill

_FOLLOWED = ("cycleqd.skills", "cycleqd.sandbox")
"""Packages of this software whose modules decide on replies; their ``__init__`` only list what there is."""
_ENDS = ("cycleqd.sandbox.pool",)
"""Modules that belong to every judge but import the sandboxes of all of them."""


def judge_version(skill: Skill) -> str:
    """SHA-256 over the sources of a skill's judge."""
    kinds = [type(one) for one in _with_wrapped(skill)]
    return _version(*((kind.__module__, inspect.getsourcefile(kind) or "") for kind in kinds))


def _with_wrapped(skill: object) -> list[object]:
    """A skill, and the skills that it holds, such as that of `cycleqd.skills.benchmarks.benchmark.Whole`."""
    held = [value for value in getattr(skill, "__dict__", {}).values() if _is_skill(type(value))]
    return [skill, *(one for value in held for one in _with_wrapped(value))]


def _is_skill(kind: type) -> bool:
    return hasattr(kind, "session") and hasattr(kind, "initial_messages")


@lru_cache(maxsize=64)  # the code that runs is the one that was imported, whatever becomes of its files
def _version(*judges: tuple[str, str]) -> str:
    """The version of judges by module and source file."""
    files: dict[str, Path] = {}
    for module, source in judges:
        files |= judge_files(module) or ({module: Path(source)} if source else {})
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def judge_files(module: str) -> dict[str, Path]:
    """The sources of the judge in a skill's module, by module or guest."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in _FOLLOWED or not _belongs(name, module) or (path := _source(name)) is None:
            continue
        found[name] = path
        if name not in _ENDS:
            waiting += _imported(name, path)
    guests = {f"guest/{path.name}": path for path in GUEST_DIRECTORY.glob("*.py")}
    return found | guests if found else {}


def _belongs(name: str, module: str) -> bool:
    own = module.partition(".")[0]
    if own != "cycleqd" and name.partition(".")[0] == own:
        return True
    return name.startswith(tuple(f"{package}." for package in _FOLLOWED))


def _source(name: str) -> Path | None:
    """A module's file; None where it has none, or where there is no such module."""
    try:
        known = sys.modules.get(name)
        origin = getattr(known, "__file__", None) if known else getattr(find_spec(name), "origin", None)
    except (ImportError, ValueError):
        return None
    return Path(origin) if origin and origin.endswith(".py") else None


def _imported(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield origin
            for alias in node.names:
                yield f"{origin}.{alias.name}"
                if origin in _FOLLOWED:  # such a package passes on what its modules define
                    yield getattr(getattr(importlib.import_module(origin), alias.name, None), "__module__", origin)
