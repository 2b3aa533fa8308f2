"""Our verdicts beside evalplus' own, on the same harmless programs.

evalplus runs a program and its judge in one process of this machine, so only programs written here are given to it.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from cycleqd.sandbox import ProgramRunner, Sandboxes
from cycleqd.skills.benchmarks.mbpp_plus.check import References, check
from cycleqd.skills.benchmarks.mbpp_plus.data import Task
from cycleqd.skills.benchmarks.mbpp_plus.skill import IMAGE, MEMORY_MB

pytestmark = pytest.mark.docker

CASES: list[tuple[str, str, list[list[Any]], float, list[str]]] = [
    # entry point, what the reference returns, inputs, atol, what programs return
    ("f", "x / 3", [[1.0], [2.0]], 0, ["x / 3", "x / 3 + 1e-9", "x / 3 + 1e-5", "1 / 3", "str(x / 3)", "[x / 3]"]),
    ("f", "2 * x", [[1], [5]], 0, ["2.0 * x", "2 * x + 1e-9", "True", "None", "'2'", "[2 * x]"]),
    ("f", "x / 2", [[2], [4]], 0, ["x // 2", "x // 2 + 0j", "x / 2 + 1e-7"]),
    ("f", "[x / 3, 1.0]", [[1]], 0, ["[x / 3 + 1e-8, 1]", "(x / 3, 1.0)", "[x / 3]", "[x / 3, 1, 1]", "[x / 3, '1']"]),
    ("f", "[1.0] if x else ['a']", [[1], [0]], 0, ["[1 + 1e-9] if x else ['a']", "[1.0] if x else ['b']"]),
    ("f", "[x, 'a']", [[1]], 0, ["[x, 'a']", "(x, 'a')", "[True, 'a']", "['a', x]", "[x]", "{x: 'a'}"]),
    ("f", "{x: [1]}", [[1]], 0, ["{x: [1]}", "{1.0: [True]}", "{x: (1,)}", "{}", "[x]"]),
    ("f", "x", [[float("inf")], [float("nan")]], 0, ["x", "-x"]),
    ("f", "(x, [None])", [[0]], 0, ["(x, [None])", "(False, [None])", "(None, [None])", "(x, [0])"]),
    ("f", "10 ** x", [[400]], 0, ["10 ** x", "10 ** x + 1", "1e400"]),
    ("f", "x + 1j", [[1]], 0, ["x + 1j", "complex(x, 1)", "x + 1j + 1e-9", "x"]),
    ("f", "x * 0.5", [[1], [3]], 0.01, ["x * 0.5 + 0.005", "x * 0.5 + 0.05", "x // 2"]),
    ("f", "'ab'", [[0]], 0, ["'ab'", "b'ab'", "['a', 'b']"]),
    ("f", "{1, 2}", [[0]], 0, ["{2, 1}", "frozenset({1, 2})", "[1, 2]", "{1, 2}.__class__([1, 2])"]),
    ("similar_elements", "(4, 5)", [[0]], 0, ["[5, 4]", "{4, 5}", "(4, 5, 5)", "(4,)", "None", "(n for n in (4, 5))"]),
    ("check_str", "object() if x else None", [[1], [0]], 0, ["x", "bool(x)", "True", "'a' if x else None", "None"]),
    ("are_equivalent", "True", [[1]], 0, ["False", "1 / 0", "None"]),
    ("sum_div", "7", [[1]], 0, ["7", "0", "6", "0.0"]),
    ("digit_distance_nums", "99", [[1, 2]], 0, ["99", "1", "2"]),
    ("surface_Area", "33", [[3, 4]], 0, ["33", "34", "33.0", "round(33.0)", "32"]),
]  # fmt: skip
NOT_NONE = ("check_str",)


@pytest.fixture(scope="module")
def runner(sandboxes: Sandboxes) -> Iterator[ProgramRunner]:
    with sandboxes.runner(image=IMAGE, memory_mb=MEMORY_MB) as opened:
        yield opened


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # evalplus forks a process that has threads
@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_verdicts_are_those_of_evalplus(
    case: tuple[str, str, list[list[Any]], float, list[str]], runner: ProgramRunner
) -> None:
    from evalplus.eval import untrusted_check
    from evalplus.gen.util import trusted_exec

    name, reference, inputs, atol, programs = case

    def program(expression: str) -> str:
        return f"def {name}(x, y=0):\n    return {expression}\n"

    task = Task("Mbpp/9999", name, program(reference), {"base": inputs, "plus": []}, atol)
    expected = trusted_exec(program(reference), inputs, name, output_not_none=name in NOT_NONE)
    references, ours, theirs = References(), {}, {}
    for expression in programs:
        ours[expression] = check(task, "base", program(expression), references, runner).passed
        status, _ = untrusted_check(
            "mbpp", program(expression), inputs, name, expected, atol, [0.0] * len(inputs), fast_check=True
        )
        theirs[expression] = status == "pass"
    assert ours == theirs
