"""Judging solutions as evalplus does, with the solution in a container and the judgement outside of it.

evalplus runs a solution and compares its results in one process, where the solution can reach the comparison. Here
a solution gets arguments and nothing else; its results come back as text (`exchange`) and are compared in this
process with those of the reference, which ran in a process of its own. What equality means (tolerances, sets, problems
with several right answers) is evalplus': ``evalplus/eval/__init__.py`` 0.3.1.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple

from cycleqd.sandbox import CallOutcome, ProgramRunner
from cycleqd.skills.benchmarks.mbpp_plus import caller, exchange
from cycleqd.skills.benchmarks.mbpp_plus.data import Task, evalplus_module
from cycleqd.skills.benchmarks.mbpp_plus.exchange import decode, decompressed, encode
from cycleqd.skills.parsing import read_literal

SUITES: Final = ("base", "plus")
LEAST_SECONDS: Final = 1.0
REFERENCE_FACTOR: Final = 4.0
"""A call may take so many times the reference's time, at least `LEAST_SECONDS`: evalplus' defaults."""
MOST_SECONDS: Final = 60.0
"""Time of a suite: evalplus' EVALPLUS_TIMEOUT_PER_TASK."""
START_SECONDS: Final = 2.0
IMPORT_SECONDS: Final = 10.0
"""For large libraries, which evalplus' process has at hand."""
REFERENCE_SECONDS: Final = 240.0
REFERENCE_BYTES: Final = 32 * 1024 * 1024
"""Of all results of a suite, as they travel: compressed."""
REFERENCE_CHARACTERS: Final = 512 * 1024 * 1024
"""Of one result."""
ATTEMPTS: Final = 2
"""At a reference that fails: it may have been the machine."""
LARGE: Final = 4 * 1024 * 1024
"""Characters of a result; two that are larger are not read at a time, as values take much more memory than texts."""
SPARE_BYTES: Final = 4_096
"""A result may be a few times as long as the expected one, and so much longer: no solution can flood us."""
FLOAT_TOLERANCE: Final = 1e-6

_FUTURE: Final = re.compile(r"^from __future__ import .*$", re.M)
_FLOAT_FIRST: Final = re.compile(r"\[(?:true|false),(?:\[[01],)?-?(?:\d+[.e]|NaN|Infinity)")
"""How a float's text begins, or that of a list or tuple of floats."""
INSIDE: Final = {
    module.__name__: Path(str(module.__file__)).read_text(encoding="utf-8") for module in (exchange, caller)
}
"""Modules that a solution's process needs, in their order; a runner may have them from the start."""
_reading = threading.Lock()


class Result(NamedTuple):
    """What one call of the reference returned.

    Attributes:
        text: Encoded, as it travels.
        length: Of the encoded text.
        seconds: Time of the call.
        encoding: Time that encoding took.
        plain: Whether the same text can only be an equal value.
        floats: Whether results from here on are compared with a tolerance.
    """

    text: str
    length: int
    seconds: float
    encoding: float
    plain: bool = False
    floats: bool = False


class Expected(NamedTuple):
    """What the reference returned in one suite.

    Attributes:
        results: One a call.
        fault: Why there is nothing to compare with; None for a sound reference.
    """

    results: tuple[Result, ...]
    fault: str | None = None


class Outcome(NamedTuple):
    """How a solution did in one suite.

    Attributes:
        passed: Whether every call gave the expected result.
        reason: One short line.
    """

    passed: bool
    reason: str


class References:
    """Expected results, computed on first need and kept; thread-safe.

    A fault is not kept: it may be the machine's, and the next who needs the reference tries it again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Expected] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._guard = threading.Lock()

    def expected(self, task: Task, suite: str, runner: ProgramRunner) -> Expected:
        """What the reference returns.

        Raises:
            SandboxUnavailable: The sandbox failed.
        """
        key = (task.id, suite)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            known = self._known.get(key)
            if known is not None:
                return known
            for _ in range(ATTEMPTS):
                found = _run_reference(task, suite, runner)
                if found.fault is None:
                    self._known[key] = found
                    break
            return found


def check(task: Task, suite: str, solution: str, references: References, runner: ProgramRunner) -> Outcome:
    """Runs a solution on a suite's inputs and compares.

    Raises:
        SandboxUnavailable: The sandbox failed.
    """
    expected = references.expected(task, suite, runner)
    if expected.fault is not None:
        return Outcome(False, f"the sample is broken: {expected.fault}")
    limits = [max(LEAST_SECONDS, REFERENCE_FACTOR * result.seconds) for result in expected.results]
    encoding = sum(max(0.0, REFERENCE_FACTOR * result.encoding) for result in expected.results)
    # Twice: quotation marks are escaped on the way.
    total = sum(2 * _most(result) + 2 * SPARE_BYTES for result in expected.results)
    imports = any(library in solution for library in caller.LIBRARIES)
    start = START_SECONDS + (IMPORT_SECONDS if imports else 0.0)
    longest = max((_most(result) for result in expected.results), default=0)
    outcomes = runner.run(
        _program(task, solution, longest + SPARE_BYTES),
        entry_point="_call",
        calls=_calls(task.inputs[suite], limits),
        seconds=min(MOST_SECONDS, sum(limits)) + encoding + start,
        value_bytes=min(REFERENCE_BYTES, longest + SPARE_BYTES),
        total_bytes=min(REFERENCE_BYTES, total),
    )
    return _compared(task, suite, outcomes, expected)


def _most(expected: Result) -> int:
    """The longest encoded result that may be right: in another form, but not of another size."""
    return 4 * expected.length if expected.length <= LARGE else 2 * expected.length


def same(task: Task, arguments: Sequence[Any], actual: Any, exact: bool, wanted: Any, atol: float) -> bool:
    """Whether a result is as good as the expected one.

    Args:
        task: The problem; some have an oracle of their own.
        arguments: Of this call.
        actual: The solution's result.
        exact: Whether its type was a plain one, not a subclass.
        wanted: The reference's result.
        atol: Absolute tolerance.
    """
    oracle = evalplus_module("eval._special_oracle")
    name = task.entry_point
    if name == "find_zero" and task.id.startswith("HumanEval"):
        return bool(abs(oracle._poly(*arguments, actual)) <= atol)
    equal: Any = actual == wanted  # of arrays, an array, which may have no truth value
    if task.id.startswith("Mbpp"):
        if name == "are_equivalent":
            equal = True
        elif name == "sum_div":
            equal = equal or actual == 0
        elif name == "surface_Area":
            equal = equal or (abs(actual - oracle._surface_Area(*arguments)) <= atol)
        elif name == "digit_distance_nums":
            equal = equal or (actual == oracle._digit_distance_nums(*arguments))
        elif name in oracle.MBPP_OUTPUT_SET_EQ_TASKS:
            equal = set(actual) == set(wanted)
        elif name in oracle.MBPP_OUTPUT_NOT_NONE_TASKS:
            found = wanted is not None
            equal = actual == found if isinstance(actual, bool) else (actual is not None) == found
    if equal or atol == 0:
        return bool(equal)
    return _close(actual, exact, wanted, atol)


def _close(actual: Any, exact: bool, wanted: Any, atol: float) -> bool:
    import numpy as np

    if not exact or type(actual) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple) and len(actual) != len(wanted):
        return False
    return bool(np.allclose(actual, wanted, rtol=1e-07, atol=atol))


def _compared(task: Task, suite: str, outcomes: Sequence[CallOutcome], expected: Expected) -> Outcome:
    atol = task.atol
    special = _has_oracle(task)
    for arguments, outcome, wanted in zip(task.inputs[suite], outcomes, expected.results, strict=True):
        call = f"{task.entry_point}({', '.join(_short(argument, 40) for argument in arguments)[:80]})"
        if outcome.value is None:
            return Outcome(False, f"{call} failed: {(outcome.error or '')[:160]}")
        if atol == 0 and wanted.floats:
            atol = FLOAT_TOLERANCE  # from here on, for later calls as well, as in evalplus
        try:
            result = _result(outcome.value)
        except ValueError:
            return Outcome(False, f"{call} gave something else")
        if wanted.plain and not special and result.text == wanted.text:
            continue
        fault = _difference(task, arguments, result, wanted, atol)
        if fault is not None:
            return Outcome(False, f"{call} gave {fault}")
    return Outcome(True, f"{len(outcomes)} calls")


def _difference(task: Task, arguments: Sequence[Any], result: Result, expected: Result, atol: float) -> str | None:
    """What is wrong with a result, in words; None for a right one."""
    with _reading if max(result.length, expected.length) > LARGE else nullcontext():
        wanted, _ = decode(decompressed(expected.text, REFERENCE_CHARACTERS))
        try:
            actual, exact = decode(decompressed(result.text, _most(expected) + SPARE_BYTES))
            right = same(task, arguments, actual, exact, wanted, atol)
        except Exception:  # a result of any kind meets comparisons made for another: it is wrong
            right, actual = False, "something else"
        return None if right else f"{_short(actual, 60)}, expected {_short(wanted, 60)}"


def _has_oracle(task: Task) -> bool:
    """Whether equality is not all that counts."""
    oracle = evalplus_module("eval._special_oracle")
    return task.entry_point in {
        *("find_zero", "are_equivalent", "sum_div", "surface_Area", "digit_distance_nums"),
        *oracle.MBPP_OUTPUT_SET_EQ_TASKS,
        *oracle.MBPP_OUTPUT_NOT_NONE_TASKS,
    }


def _run_reference(task: Task, suite: str, runner: ProgramRunner) -> Expected:
    inputs = task.inputs[suite]
    outcomes = runner.run(
        _program(task, task.reference, REFERENCE_CHARACTERS),
        entry_point="_call",
        calls=_calls(inputs, [REFERENCE_SECONDS] * len(inputs)),
        seconds=REFERENCE_SECONDS,
        value_bytes=REFERENCE_BYTES,
        total_bytes=REFERENCE_BYTES,
    )
    results = []
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.value is None:
            return Expected((), f"its reference fails call {number} of {suite}: {(outcome.error or '')[:160]}")
        results.append(_known(_result(outcome.value)))
    return Expected(tuple(results))


def _known(result: Result) -> Result:
    """A reference's result with what is to be known of it, so that it need not be read for every solution."""
    with _reading if result.length > LARGE else nullcontext():
        text = decompressed(result.text, REFERENCE_CHARACTERS)
        # NaN and what is opaque equal nothing, an array gives no one truth value.
        plain = not any(word in text for word in ("NaN", '"opaque"', '"array"'))
        floats = bool(_FLOAT_FIRST.match(text)) and bool(evalplus_module("eval").is_floats(decode(text)[0]))
    return result._replace(plain=plain, floats=floats)


def _program(task: Task, source: str, most: int) -> str:
    future = _FUTURE.findall(source) if task.before else []  # these must come first
    rest = _FUTURE.sub("", source) if future else source
    program = "\n".join(filter(None, (*future, task.before, rest, task.after)))
    drain = task.entry_point in evalplus_module("eval._special_oracle").MBPP_OUTPUT_SET_EQ_TASKS
    return (
        "import sys\n"
        f"for name, text in {list(INSIDE.items())!r}:\n"
        "    if name not in sys.modules:\n"
        "        sys.modules[name] = type(sys)(name)\n"
        "        exec(compile(text, name, 'exec', dont_inherit=True), sys.modules[name].__dict__)\n"
        f"_call = sys.modules[name].caller({program!r}, {task.entry_point!r}, drain={drain}, most={most})\n"
    )


def _calls(inputs: Sequence[list[Any]], limits: Sequence[float]) -> list[str]:
    return [repr((encode(arguments), limit)) for arguments, limit in zip(inputs, limits, strict=True)]


def _result(value: str) -> Result:
    """What the caller returned, out of its ``repr``.

    Raises:
        ValueError: The text is something else.
    """
    seconds, encoding, length, text = str(read_literal(value, max_chars=len(value))).split(" ", 3)
    return Result(text, int(length), float(seconds), float(encoding))


def _short(value: Any, length: int) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # e.g. an integer of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= length else text[: length - 3] + "..."
