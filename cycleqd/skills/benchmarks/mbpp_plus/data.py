"""The records of MBPP+ (Liu 2023, https://arxiv.org/abs/2305.01210), read through the `evalplus` package.

MBPP+ has releases whose scores are not comparable: v0.1.0 with 399 tasks, which the CycleQD paper used, and v0.2.0
with 378, from which 21 ill-formed tasks and the web addresses in prompts were removed. A file, or a part of one, is
told by its content. Files of HumanEval+ have the same form and are read, too, and so are those of HumanEval (Chen
2021, https://arxiv.org/abs/2107.03374), whose tests are a program that runs with the solution, in its container: such
a task has no plus tests, and a solution that tampers with the tests' process may pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from cycleqd.skills.benchmarks.benchmark import (
    DataUnavailable,
    Problem,
    Source,
    files_sha256,
    locate,
    without_excluded,
)
from cycleqd.skills.protocol import Skipped

PATTERNS: Final = ("mbpp/MbppPlus*.jsonl*", "MbppPlus*.jsonl*")
"""Where the file lies in a folder of data."""
REMOVED: Final = frozenset(
    f"Mbpp/{number}"
    for number in (
        83, 115, 117, 143, 164, 229, 249, 295, 396, 400, 407, 431, 438, 442, 461, 574, 582, 595, 640, 746, 783,
    )
)  # fmt: skip
"""Tasks of v0.1.0 that v0.2.0 no longer has (evalplus, tools/mbpp/fix_v011.py)."""
FIELDS: Final = ("prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
TEST_FIELDS: Final = ("prompt", "entry_point", "canonical_solution", "test")
"""Of a task of HumanEval in its own form."""
TESTED: Final = "_passes_its_test"
SHORT_LINES: Final = 4
"""Solutions of at most so many lines are one stratum, longer ones the other."""

_ADDRESS: Final = re.compile(r"https?://\S*[\w/]")


class Task(NamedTuple):
    """What is needed to judge solutions of one problem.

    Attributes:
        id: For example ``Mbpp/2``.
        entry_point: The function to call.
        reference: The program whose results are the expected ones.
        inputs: Lists of arguments, by suite (``base``, and mostly ``plus``).
        atol: Absolute tolerance of results; 0 compares exactly (floats to 1e-6 all the same, as evalplus does).
        before: What stands before a solution in its program.
        after: And behind it.
    """

    id: str
    entry_point: str
    reference: str
    inputs: Mapping[str, list[list[Any]]]
    atol: float
    before: str = ""
    after: str = ""


class Records(NamedTuple):
    """A file's content.

    Attributes:
        tasks: By id.
        problems: The same, ready to be split.
        skipped: Records that are excluded or unusable.
        version: ``v0.1.0``, ``v0.2.0``, ``HumanEval+`` or ``HumanEval``.
        sha256: Of the file.
    """

    tasks: dict[str, Task]
    problems: list[Problem]
    skipped: tuple[Skipped, ...]
    version: str
    sha256: str


def evalplus_module(name: str) -> ModuleType:
    """A module of the `evalplus` package, which is not among this package's own dependencies.

    Raises:
        DataUnavailable: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"evalplus.{name}")
    except ImportError as error:
        raise DataUnavailable(
            f"mbpp_plus needs the evalplus package ({error}): pip install 'cycleqd[benchmarks]'"
        ) from error


def read_records(source: Source) -> Records:
    """Finds and reads the data.

    Raises:
        DataUnavailable: There is none, it is of no known form, or evalplus is missing.
    """
    mbpp, utils = evalplus_module("data.mbpp"), evalplus_module("data.utils")

    def download() -> Path:
        return Path(mbpp._ready_mbpp_plus_path())  # evalplus' cache, its own override (MBPP_OVERRIDE_PATH), its URL

    found = locate(source.data, PATTERNS, skill="mbpp_plus", download=download)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataUnavailable(f"mbpp_plus: {found[0].parent} has several files ({names}): set `data` to one of them")
    path = found[0]
    try:
        rows = list(utils.stream_jsonl(str(path)))
    except (OSError, EOFError, ValueError) as error:
        raise DataUnavailable(f"mbpp_plus: {path} is no file of JSON lines: {error}") from error
    version = version_of(rows, path.name)
    tasks, problems, skipped = {}, [], []
    for number, row in enumerate(rows, start=1):
        name = str(row.get("task_id", f"line {number}"))
        missing = [field for field in (TEST_FIELDS if version == "HumanEval" else FIELDS) if field not in row]
        if missing:
            skipped.append(Skipped(name, f"the record has no {', '.join(missing)}"))
            continue
        try:
            tasks[name] = _task(name, row, mbpp)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            skipped.append(Skipped(name, f"its inputs can't be read: {type(error).__name__}: {error}"))
            continue
        problems.append(_problem(name, row))
    problems, excluded = without_excluded(problems, source.excluded)
    if not problems:
        raise DataUnavailable(f"mbpp_plus: {path} has no usable task ({len(skipped) + len(excluded)} skipped)")
    return Records(tasks, problems, (*skipped, *excluded), version, files_sha256([path]))


def version_of(rows: list[dict[str, Any]], file_name: str) -> str:
    """The release that rows belong to.

    Raises:
        DataUnavailable: They belong to different releases or benchmarks, or to another than the file's name says.
    """
    families = {str(row.get("task_id", "?")).partition("/")[0] for row in rows}
    if families == {"HumanEval"}:
        return "HumanEval+" if any("base_input" in row for row in rows) else "HumanEval"
    if families != {"Mbpp"}:
        raise DataUnavailable(
            f"mbpp_plus: {file_name} holds tasks of {', '.join(sorted(families)) or 'nothing'}, expected Mbpp/<number>"
        )
    named = re.search(r"v0\.\d+\.\d+", file_name)
    old = any(row["task_id"] in REMOVED or _ADDRESS.search(str(row.get("prompt", ""))) for row in rows)
    if old:
        if named and named[0] >= "v0.2.0":
            raise DataUnavailable(
                f"mbpp_plus: {file_name} holds tasks that {named[0]} does not have: two mixed releases?"
            )
        return "v0.1.0"
    return named[0] if named else "v0.2.0"


def _task(name: str, row: Mapping[str, Any], mbpp: ModuleType) -> Task:
    if "base_input" not in row:
        return Task(name, TESTED, row["prompt"] + row["canonical_solution"], {"base": [[]]}, 0.0,
                    before=row["prompt"], after=_test(row["entry_point"], row["test"]))  # fmt: skip
    inputs = {suite: row[f"{suite}_input"] for suite in ("base", "plus")}
    if name.startswith("Mbpp/"):
        # Tuples, sets and complex numbers, which JSON doesn't have.
        inputs = {suite: mbpp.mbpp_deserialize_inputs(name, rows) for suite, rows in inputs.items()}
    plain = {suite: [list(arguments) for arguments in rows] for suite, rows in inputs.items()}
    return Task(name, row["entry_point"], row["prompt"] + row["canonical_solution"], plain, float(row["atol"]))


def _test(entry_point: str, test: str) -> str:
    """The function `TESTED`, which calls the test's ``check``.

    Results must be of plain types, so that none of a solution's own decides what it equals.
    """
    return f"""{test}

def {TESTED}():
    def candidate(*arguments, **named):
        result = {entry_point}(*arguments, **named)
        if type(result) not in (type(None), bool, int, float, complex, str, bytes, list, tuple, set, dict):
            raise TypeError("the result is of no plain type")
        return result
    check(candidate)
    return True
"""


def _problem(name: str, row: Mapping[str, Any]) -> Problem:
    lines = sum(bool(line.strip()) for line in row["canonical_solution"].splitlines())
    # Without web addresses, a task has one content and so one half in all releases.
    content = " ".join(_ADDRESS.sub("", row["prompt"]).split())
    data = {key: row[key] for key in ("prompt", "entry_point", "canonical_solution")}
    return Problem(name, "short" if lines <= SHORT_LINES else "long", content, data)
