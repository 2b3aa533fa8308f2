"""Judging solutions as evalplus does, with the solution in a container and the judgement outside of it.

evalplus runs a solution and compares its results in one process, where the solution can reach the comparison. Here
a solution gets arguments and nothing else; its results come back as text (`cycleqd.skills.exchange`) and are compared
in this process with those of the reference, which ran in a process of its own. What equality means (tolerances, sets,
problems with several right answers) is evalplus': ``evalplus/eval/__init__.py`` 0.3.1.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cycleqd.sandbox import CallOutcome, ProgramRunner
from cycleqd.skills import exchange
from cycleqd.skills.exchange import decode, encode
from cycleqd.skills.mbpp_plus_data import Task, evalplus_module

SUITES: Final = ("base", "plus")
LEAST_SECONDS: Final = 1.0
REFERENCE_FACTOR: Final = 4.0
"""A call may take so many times the reference's time, at least `LEAST_SECONDS`: evalplus' defaults. Processor time
here, so that a busy machine fails nobody."""
MOST_SECONDS: Final = 60.0
"""Wall-clock time of a suite: evalplus' EVALPLUS_TIMEOUT_PER_TASK."""
START_SECONDS: Final = 2.0
REFERENCE_SECONDS: Final = 240.0
REFERENCE_BYTES: Final = 32 * 1024 * 1024
SPARE_BYTES: Final = 4_096
"""A result may be a few times as long as the expected one, and so much longer: no solution can flood us."""
FLOAT_TOLERANCE: Final = 1e-6

_FUTURE: Final = re.compile(r"^from __future__ import .*$", re.M)
_EXCHANGE: Final = Path(exchange.__file__).read_text(encoding="utf-8")


class Expected(NamedTuple):
    """What the reference returned in one suite.

    Attributes:
        results: Encoded results, one a call.
        seconds: Processor time, one a call.
        fault: Why there is nothing to compare with; None for a sound reference.
    """

    results: tuple[str, ...]
    seconds: tuple[float, ...]
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
    """Expected results, computed on first need and kept; thread-safe."""

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
            if key not in self._known:
                self._known[key] = _run_reference(task, suite, runner)
            return self._known[key]


def check(task: Task, suite: str, solution: str, references: References, runner: ProgramRunner) -> Outcome:
    """Runs a solution on a suite's inputs and compares.

    Raises:
        SandboxUnavailable: The sandbox failed.
    """
    expected = references.expected(task, suite, runner)
    if expected.fault is not None:
        return Outcome(False, f"the sample is broken: {expected.fault}")
    limits = [max(LEAST_SECONDS, REFERENCE_FACTOR * seconds) for seconds in expected.seconds]
    longest = max((len(result) for result in expected.results), default=0)
    outcomes = runner.run(
        _program(task, solution),
        entry_point="_call",
        calls=_calls(task.inputs[suite], limits),
        seconds=min(MOST_SECONDS, sum(limits)) + START_SECONDS,
        value_bytes=4 * longest + SPARE_BYTES,
        # Twice: quotation marks are escaped on the way.
        total_bytes=sum(8 * len(result) + 2 * SPARE_BYTES for result in expected.results),
    )
    return _compared(task, suite, outcomes, expected)


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
    equal = bool(actual == wanted)
    if task.id.startswith("Mbpp"):
        if name == "are_equivalent":
            equal = True
        elif name == "sum_div":
            equal = equal or bool(actual == 0)
        elif name == "surface_Area":
            equal = equal or bool(abs(actual - oracle._surface_Area(*arguments)) <= atol)
        elif name == "digit_distance_nums":
            equal = equal or bool(actual == oracle._digit_distance_nums(*arguments))
        elif name in oracle.MBPP_OUTPUT_SET_EQ_TASKS:
            equal = set(actual) == set(wanted)
        elif name in oracle.MBPP_OUTPUT_NOT_NONE_TASKS:
            found = wanted is not None
            equal = actual == found if isinstance(actual, bool) else (actual is not None) == found
    if equal or atol == 0:
        return equal
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
    is_floats = evalplus_module("eval").is_floats
    for arguments, outcome, text in zip(task.inputs[suite], outcomes, expected.results, strict=True):
        call = f"{task.entry_point}({', '.join(_short(argument, 40) for argument in arguments)[:80]})"
        if outcome.value is None:
            return Outcome(False, f"{call} failed: {(outcome.error or '')[:160]}")
        wanted, _ = decode(text)
        if atol == 0 and is_floats(wanted):
            atol = FLOAT_TOLERANCE  # from here on, for later calls as well, as in evalplus
        try:
            actual, exact = decode(_result(outcome.value)[1])
            right = same(task, arguments, actual, exact, wanted, atol)
        except Exception:  # a result of any kind meets comparisons made for another: it is wrong
            right, actual = False, "something else"
        if not right:
            return Outcome(False, f"{call} gave {_short(actual, 60)}, expected {_short(wanted, 60)}")
    return Outcome(True, f"{len(outcomes)} calls")


def _run_reference(task: Task, suite: str, runner: ProgramRunner) -> Expected:
    inputs = task.inputs[suite]
    outcomes = runner.run(
        _program(task, task.reference),
        entry_point="_call",
        calls=_calls(inputs, [REFERENCE_SECONDS] * len(inputs)),
        seconds=REFERENCE_SECONDS,
        value_bytes=REFERENCE_BYTES,
        total_bytes=REFERENCE_BYTES,
    )
    results, seconds = [], []
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.value is None:
            return Expected((), (), f"its reference fails call {number} of {suite}: {(outcome.error or '')[:160]}")
        spent, result = _result(outcome.value)
        results.append(result)
        seconds.append(spent)
    return Expected(tuple(results), tuple(seconds))


def _program(task: Task, source: str) -> str:
    future = _FUTURE.findall(source) if task.before else []  # these must come first
    rest = _FUTURE.sub("", source) if future else source
    program = "\n".join(filter(None, (*future, task.before, rest, task.after)))
    drain = task.entry_point in evalplus_module("eval._special_oracle").MBPP_OUTPUT_SET_EQ_TASKS
    return f"{_EXCHANGE}\n_call = caller({program!r}, {task.entry_point!r}, drain={drain})\n"


def _calls(inputs: Sequence[list[Any]], limits: Sequence[float]) -> list[str]:
    return [repr((encode(arguments), limit)) for arguments, limit in zip(inputs, limits, strict=True)]


def _result(value: str) -> tuple[float, str]:
    """Seconds and encoded result, out of the ``repr`` of what the caller returned.

    Raises:
        ValueError: The text is something else.
    """
    from cycleqd.skills.parsing import read_literal

    seconds, space, result = str(read_literal(value, max_chars=len(value))).partition(" ")
    if not space:
        raise ValueError("no result")
    return float(seconds), result


def _short(value: Any, length: int) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # e.g. an integer of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= length else text[: length - 3] + "..."
