"""Draws the rooms of the house from the imports, and looks for what the house does not allow.

    .venv/bin/python -m infra.rooms

reads every import of `cycleqd/`, `tasks/` and `flows/`, those in functions and under ``TYPE_CHECKING`` too. It prints
circles, modules that are too long and the README's length, and writes the picture `docs/images/rooms.svg`. It ends
with status 1 where something is not allowed. `tests/test_layout.py` asks the same functions.

A *module* is one file. A *room* is a package or module directly under `cycleqd/`; `tasks` and `flows` are rooms of
their own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from infra.rooms_picture import svg

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("cycleqd", "tasks", "flows")
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
MOST_LINES, README_LINES = 400, 200

Graph = Mapping[str, frozenset[str]]
"""What each name imports."""


class Layout(NamedTuple):
    """What the sources import.

    Attributes:
        modules: Imports between modules.
        rooms: Imports between rooms.
        lines: Lines of each module.
    """

    modules: Graph
    rooms: Graph
    lines: dict[str, int]


def read(root: Path = ROOT) -> Layout:
    """Reads the sources below `root`."""
    paths = {module_name(path.relative_to(root)): path for house in HOUSES for path in (root / house).rglob("*.py")}
    modules: dict[str, frozenset[str]] = {}
    lines: dict[str, int] = {}
    for name, path in sorted(paths.items()):
        text = path.read_text()
        lines[name] = len(text.splitlines())
        modules[name] = frozenset(imports(ast.parse(text), frozenset(paths))) - {name}
    rooms: dict[str, set[str]] = {}
    for name, imported in modules.items():
        rooms.setdefault(room_of(name), set()).update(map(room_of, imported))
    # The package itself only says what it is.
    rooms = {room: low - {room} for room, low in rooms.items() if room != "cycleqd" or low}
    return Layout(modules, {room: frozenset(low) for room, low in rooms.items()}, lines)


def module_name(path: Path) -> str:
    """The dotted name of a file, relative to the root."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of a module: `search` of `cycleqd.search.archive`; the package's own `__init__` is `cycleqd`."""
    house, _, rest = module.partition(".")
    return rest.partition(".")[0] or house if house == "cycleqd" else house


def imports(tree: ast.AST, known: frozenset[str]) -> Iterator[str]:
    """The known modules that a file imports, anywhere in it.

    `from package import name` means the module `package.name` where there is one, and the package otherwise. That
    importing a module also runs the packages above it is left out: a package lists what is public of its modules, and
    its modules may import each other.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in known:
                    yield full
                elif node.module in known:
                    yield node.module


def circles(graph: Graph) -> list[list[str]]:
    """Groups of names that import each other, directly or through others (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(found)


def too_long(lines: Mapping[str, int]) -> dict[str, int]:
    """Modules of `cycleqd/` over the limit, with their lines."""
    return {name: count for name, count in lines.items() if name.startswith("cycleqd") and count > MOST_LINES}


def readme_lines(root: Path = ROOT) -> int:
    """Lines of the README."""
    return len((root / "README.md").read_text().splitlines())


def notes(layout: Layout) -> dict[str, str]:
    """What stands below a room's name: how large it is."""
    sizes: dict[str, list[int]] = {}
    for name, count in layout.lines.items():
        sizes.setdefault(room_of(name), []).append(count)
    return {room: f"{len(counts)} {'module' if len(counts) == 1 else 'modules'}, {sum(counts)} lines"
            for room, counts in sizes.items()}  # fmt: skip


def main() -> int:
    """Tells what is not allowed and draws the picture; returns the exit status."""
    layout = read()
    faults = []
    for what, graph in (("modules", layout.modules), ("rooms", layout.rooms)):
        faults += [f"circle of {what}: {', '.join(group)}" for group in circles(graph)]
        for group in circles(graph):
            faults += [f"  {name} imports {', '.join(sorted(graph[name] & set(group)))}" for name in group]
    faults += [f"{name} has {count} lines, more than {MOST_LINES}" for name, count in too_long(layout.lines).items()]
    if (count := readme_lines()) > README_LINES:
        faults.append(f"README.md has {count} lines, more than {README_LINES}")
    print("\n".join(faults) or "no circle, no module too long")
    if not circles(layout.rooms):
        PICTURE.write_text(svg(layout.rooms, notes(layout)))
        print(f"drawn: {PICTURE.relative_to(ROOT)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
