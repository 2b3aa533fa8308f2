"""Names of tasks, groups and tags, lm-evaluation-harness' and a user's own, found without importing the harness."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from cycleqd.faults import MendableFault
from cycleqd.generalisation.definitions import Benchmark, benchmarks, in_order

INSTALL: Final = "pip install 'cycleqd[generalise]'"
"""How the harness is had."""
PREFIX: Final = "lm_eval:"
"""In front of the name of a task of the harness that the table has, too, but asks in its own way."""
SUFFIXES: Final = (".yaml", ".yml")
_NAMED: Final = re.compile(
    r"""^[ \t]*(?:-[ \t]+)?["']?(task|group|tag)["']?[ \t]*:[ \t]*([^\n]*(?:\n[ \t]*(?:-[ \t][^\n]*|\#[^\n]*)?)*)""",
    re.M,
)
"""What a YAML file calls a task, a group or a tag: a word, or words in a list."""
_WORD: Final = re.compile(r"""[^\s,\[\]{}"'#]+""")
_NO_YAML: Final = (".py", ".md", ".txt", ".json", ".jsonl", ".csv", ".tsv", ".ipynb", ".pyc", ".sh", ".png")
"""Endings of files that are no YAML; the harness includes some that have no ending."""
_PASSED_OVER: Final = {"__pycache__", ".ipynb_checkpoints"}
_NEAR: Final = 0.6


class UnknownBenchmark(MendableFault, ValueError):
    """There is no benchmark of that name; the text names near ones."""


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task, a group or a tag of the harness that is not loaded yet.

    Attributes:
        name: The row in the table.
        entry: What the harness calls it; a path where a file is given.
        include: Folders of a user's own tasks.
    """

    name: str
    entry: str
    include: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """As the table shows it."""
        return self.name


def chosen(names: Sequence[str], include: Sequence[Path] = ()) -> list[Benchmark | TaskName]:
    """The benchmarks of these names: the table's own in its order, then the harness' in the given order.

    A user's own tasks go before the table's, and the table's before the harness'.

    Args:
        names: Names; ``lm_eval:NAME`` is the harness' where the table has that name, too; ``FILE.yaml`` is a user's
            own. None at all are all of the table's, or, with `include`, refused.
        include: Folders of a user's own tasks, or files of one.

    Raises:
        UnknownBenchmark: A name is none of them, or a path of `include` has no tasks.
    """
    own: dict[str, TaskName] = {}
    faults: list[str] = []
    for path in include:
        found, unread = _own(path, tuple(include))
        own |= {one.name: one for one in found}
        faults += unread
    if include and not names:
        raise UnknownBenchmark(f"which tasks of --include-path? Give --benchmarks NAMES; there are {_list(own)}")
    tabled: list[str] = []
    others: dict[str, TaskName] = {}
    for given in names:
        name = given.removeprefix(PREFIX)
        if name.endswith(SUFFIXES):
            others |= {one.name: one for one in _of_file(Path(name).expanduser(), tuple(include))}
        elif name in own and given == name:
            others[name] = own[name]
        elif name in benchmarks() and given == name:
            tabled.append(name)
        elif name in harness_names():
            others[given] = TaskName(given, name, _folders(include))
        else:
            raise UnknownBenchmark(_unknown(name, own, faults))
    wanted = in_order(tabled) if tabled or not names else []
    return [*wanted, *others.values()]


@cache
def harness_names() -> Mapping[str, frozenset[str]]:
    """Names that the installed harness has, with the folders below its ``tasks`` that have them; none without it."""
    found: dict[str, set[str]] = {}
    root = harness_folder()
    for path in _files(root) if root else ():
        for name in names_of(path):
            found.setdefault(name, set()).add(path.relative_to(root or path).parts[0])
    return {name: frozenset(folders) for name, folders in found.items()}


def harness_folder() -> Path | None:
    """The folder with the harness' own tasks; None where it is not installed."""
    try:
        spec = importlib.util.find_spec("lm_eval")
    except ValueError:  # how a package that is switched off is told
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "tasks" if places else None


def names_of(path: Path) -> Iterator[str]:
    """What a YAML file calls its tasks, groups and tags, and those that it names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    for _, words in _NAMED.findall(text):
        yield from (word for word in _WORD.findall(words) if word != "-" and not word.endswith(":"))


def near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that are like one, the nearest first."""
    pool = list(dict.fromkeys(known))
    lowered = {one.lower(): one for one in pool}
    found = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=_NEAR)
    return [lowered[one] for one in found]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not path.name.endswith(_NO_YAML) and "__pycache__" not in path.parts and path.is_file():
            yield path


def _own(path: Path, include: tuple[Path, ...]) -> tuple[list[TaskName], list[str]]:
    """What a user's folder or file defines, and what cannot be read."""
    if path.is_file():
        return _of_file(path, include), []
    if not path.is_dir():
        raise UnknownBenchmark(f"--include-path {path}: there is no such file or folder")
    defined: dict[str, Path] = {}
    tags: list[str] = []
    faults: list[str] = []
    for file in sorted(path.rglob("*.yaml")):
        if _PASSED_OVER & set(file.parts):
            continue
        try:
            content = _content(file)
        except UnknownBenchmark as error:  # it may be no task's, so only who looks for a name in vain is told
            faults.append(str(error))
            continue
        name = _name(content)
        if name in defined:
            raise UnknownBenchmark(f"{defined[name]} and {file} both define {name!r}: rename one")
        if name:
            defined[name] = file
        tags += _words(content.get("tag"))
    if not defined:
        raise UnknownBenchmark(
            "; ".join([f"--include-path {path}: no YAML there has a name, as `task: NAME`", *faults])
        )
    return [TaskName(name, name, _folders(include)) for name in dict.fromkeys([*defined, *tags])], faults


def _of_file(path: Path, include: tuple[Path, ...]) -> list[TaskName]:
    content = _content(path)
    name = _name(content)
    if not name:
        raise UnknownBenchmark(f"{path}: give it a name, as `task: NAME`")
    if "group" in content:  # whose members may be beside it
        return [TaskName(name, name, tuple(dict.fromkeys([*_folders(include), path.resolve().parent])))]
    return [TaskName(name, str(path.resolve()), _folders(include))]


def _folders(include: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in include if path.is_dir())


def _content(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML file's settings, and those of the files that it includes; functions are left out."""
    if not path.is_file():
        raise UnknownBenchmark(f"no benchmark {str(path)!r}: there is no such file")
    import yaml

    class Names(yaml.SafeLoader):
        """Passes over tags such as ``!function``, which are the harness' own."""

    Names.add_multi_constructor("!", lambda *_: None)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Names)  # noqa: S506 -- it is a SafeLoader
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise UnknownBenchmark(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UnknownBenchmark(f"{path}: a task's YAML has settings, such as `task: NAME`")
    settings: dict[str, Any] = content
    for text in _words(settings.get("include")):
        included = path.parent / Path(text).expanduser()
        if included in within:
            raise UnknownBenchmark(f"{path} includes itself by way of {text}")
        if not included.is_file():
            raise UnknownBenchmark(f"{path} includes {text}, which is not there")
        settings = _content(included, (*within, path)) | settings
    return settings


def _name(content: Mapping[str, Any]) -> str:
    name = content.get("group") or content.get("task")
    return name if isinstance(name, str) else ""


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [one for one in value or () if isinstance(one, str)]


def _unknown(name: str, own: Mapping[str, object], faults: Sequence[str]) -> str:
    close = near(name, [*own, *benchmarks(), *harness_names()])
    other = f"did you mean {' or '.join(close)}?" if close else f"there are {_list([*own, *benchmarks()])}"
    if harness_names():
        more = "" if close else ", and all tasks of lm-evaluation-harness"
    else:
        more = f"; tasks of lm-evaluation-harness need it: {INSTALL}"
    return "; ".join([f"no benchmark {name!r}", f"{other}{more}", *faults[:1]])


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
