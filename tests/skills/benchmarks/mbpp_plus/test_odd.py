"""Odd solutions, large references, and references that fail for a while.

The verdicts on odd solutions are those that evalplus 0.3.1 gave on the same programs, run in a container, but for "an
int of sympy's": on a busy machine that ran out of evalplus' time, and what it gives on an idle one was not tried.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cycleqd.sandbox import CallOutcome, ProgramRunner, Sandboxes
from cycleqd.skills.benchmarks.mbpp_plus.check import INSIDE, Outcome, References, check
from cycleqd.skills.benchmarks.mbpp_plus.check import LARGE as LARGE_RESULT
from cycleqd.skills.benchmarks.mbpp_plus.data import Task
from cycleqd.skills.benchmarks.mbpp_plus.exchange import encode
from cycleqd.skills.benchmarks.mbpp_plus.skill import IMAGE, MEMORY_MB

pytestmark = pytest.mark.docker

DOUBLE = Task("Mbpp/9999", "f", "def f(x):\n    return 2 * x", {"base": [[1], [4]], "plus": []}, 0.0)

PASS = {
    "an int of numpy's": "import numpy as np\ndef f(x): return np.int64(2 * x)",
    "a decimal": "from decimal import Decimal\ndef f(x): return Decimal(2 * x)",
    "a fraction": "from fractions import Fraction\ndef f(x): return Fraction(4 * x, 2)",
    "an int of sympy's": "import sympy\ndef f(x): return sympy.Integer(2 * x)",
    "pandas": "import pandas as pd\ndef f(x): return pd.Series([x, x]).sum()",
    "an array of one": "import numpy as np\ndef f(x): return np.array([2 * x])",
    "a thread": (
        "import threading\ndef f(x):\n    r = []\n    t = threading.Thread(target=r.append, args=(2 * x,))\n"
        "    t.start(); t.join()\n    return r[0]"
    ),
    "a pool": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n"
        "    with ThreadPoolExecutor(8) as pool: return sum(pool.map(int, [x, x]))"
    ),
    "a thread that is left running": (
        "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=(99,)).start()\n"
        "    return 2 * x"
    ),
    "a recursion of 900": "def d(n): return n and d(n - 1)\ndef f(x): return 2 * x + d(900)",
    "a recursion of 50,000 that is announced": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef d(n): return n and d(n - 1)\ndef f(x): return 2 * x + d(50_000)"
    ),
    "a recursion through C": (
        "import sys, functools\nsys.setrecursionlimit(10**6)\n@functools.lru_cache(None)\n"
        "def d(n): return n and d(n - 1)\ndef f(x): return 2 * x + d(20_000)"
    ),
    "prints": "print('a')\ndef f(x): print(x, flush=True); return 2 * x",
    "a main block": "def f(x): return 2 * x\nif __name__ == '__main__':\n    input()",
    "a line separator": "s = '\u2028\u2029'\ndef f(x): return 2 * x + s.count('a')",
    "half a second asleep": "import time\ndef f(x): time.sleep(0.5); return 2 * x",
    "a class": "class f(int):\n    def __new__(cls, x): return int.__new__(cls, 2 * x)",
    "a future": "from __future__ import annotations\ndef f(x: X) -> Y: return 2 * x",
    "a data class": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(2 * x).x",
    "a decorated helper": "import functools\n@functools.cache\ndef g(x): return 2 * x\ndef f(x): return g(x)",
}
FAIL = {
    "an annotation without its import": "def f(x: List[int]): return 2 * x",
    "an annotation of a variable": "y: List[int] = []\ndef f(x): return 2 * x",
    "an array of two": "import numpy as np\ndef f(x): return np.array([2 * x, 2 * x])",
    "a generator": "def f(x): yield 2 * x",
    "a recursion of 1,000": "def d(n): return n and d(n - 1)\ndef f(x): return 2 * x + d(1000)",
    "input": "def f(x):\n    try: input()\n    except EOFError: pass\n    return 2 * x",
    "input in passing": "def f(x): return 2 * x\ninput()",
    "a file": "def f(x): open('a', 'w'); return 2 * x",
    "a process": "import os\ndef f(x): os.fork(); return 2 * x",
    "a program": "import subprocess\ndef f(x): subprocess.run(['true']); return 2 * x",
    "a process of Python's": (
        "import multiprocessing\ndef f(x):\n    multiprocessing.Process(target=print).start()\n    return 2 * x"
    ),
    "exit": "def f(x): return 2 * x\nexit()",
    "sys.exit": "import sys\ndef f(x): sys.exit(0)",
    "a while asleep": "import time\ndef f(x): time.sleep(3); return 2 * x",
    "an assertion": "def f(x): return 2 * x\nassert f(1) == 3",
    "resource": "import resource\ndef f(x): return 2 * x",
    "a name of its own": "def f(x): return 2 * x if __name__ == '__main__' else 0",
}


@pytest.fixture(scope="module")
def runner(sandboxes: Sandboxes) -> Iterator[ProgramRunner]:
    with sandboxes.runner(image=IMAGE, memory_mb=MEMORY_MB, modules=INSIDE) as opened:
        yield opened


@pytest.fixture(scope="module")
def references() -> References:
    return References()


def judged(runner: ProgramRunner, task: Task, solution: str) -> Outcome:
    return check(task, "base", solution, References(), runner)


@pytest.mark.parametrize("name", PASS)
def test_an_odd_solution_passes_as_with_evalplus(name: str, references: References, runner: ProgramRunner) -> None:
    outcome = check(DOUBLE, "base", PASS[name], references, runner)
    assert outcome.passed, outcome.reason


@pytest.mark.parametrize("name", FAIL)
def test_an_odd_solution_fails_as_with_evalplus(name: str, references: References, runner: ProgramRunner) -> None:
    assert not check(DOUBLE, "base", FAIL[name], references, runner).passed


def test_a_recursion_is_as_deep_as_in_evalplus(runner: ProgramRunner) -> None:
    task = Task("Mbpp/9999", "f", "def f(n):\n    return 0", {"base": [[975]], "plus": []}, 0.0)
    deep = "def f(n):\n    return n if n == 0 else f(n - {})"
    assert judged(runner, task, deep.format(1)).passed
    assert not judged(runner, task._replace(inputs={"base": [[976]]}), deep.format(1)).passed


LARGE = (
    "def f(n):\n    names = ('red', 'green', 'blue', 'black')\n    return [(names[i % 3], i, i % 7) for i in range(n)]"
)


@pytest.mark.slow
def test_results_of_a_million_tuples_are_compared(runner: ProgramRunner) -> None:
    task = Task("Mbpp/9999", "f", LARGE, {"base": [[1_700_000]], "plus": []}, 0.0)
    assert judged(runner, task, LARGE).passed


def test_large_results_of_another_form_are_read_and_compared(runner: ProgramRunner) -> None:
    task = Task("Mbpp/9999", "f", LARGE, {"base": [[250_000]], "plus": []}, 0.0)
    references = References()
    assert references.expected(task, "base", runner).results[0].length > LARGE_RESULT
    outcome = check(task, "base", LARGE.replace("i % 7)", "float(i % 7))"), references, runner)
    assert outcome.passed, outcome.reason
    wrong = check(task, "base", LARGE + "[:-1] + [('red', 0, 1)]", references, runner)
    assert not wrong.passed
    assert len(wrong.reason) < 300


def test_a_solution_has_the_memory_that_evalplus_gives(runner: ProgramRunner) -> None:
    slow = "import time\ndef f(n):\n    time.sleep(3)\n    return n"  # time is not the question
    task = Task("Mbpp/9999", "f", slow, {"base": [[150_000_000]], "plus": []}, 0.0)
    assert judged(runner, task, "def f(n):\n    return len([None] * n)").passed  # 1.2 gigabytes
    assert "MemoryError" in judged(runner, task, "def f(n): return len([None] * (4 * n))").reason


class FailsAtFirst:
    """A runner on a machine that has its hands full at first."""

    def __init__(self, faults: int) -> None:
        self.faults, self.programs = faults, 0

    def run(self, source: str, *, calls: Sequence[str], **_: Any) -> list[CallOutcome]:
        self.programs += 1
        if self.programs <= self.faults:
            return [CallOutcome(None, "ProgramEnded: the program ended before it returned (killed by signal 9)")]
        return [CallOutcome(repr(f"0.0 0.0 8 {encode(2)}"), None) for _ in calls]


@pytest.mark.parametrize(("faults", "first", "later"), [(0, True, True), (1, True, True), (2, False, True)])
def test_a_references_fault_is_tried_again_and_never_kept(faults: int, first: bool, later: bool) -> None:
    task = DOUBLE._replace(inputs={"base": [[1]]})
    runner: Any = FailsAtFirst(faults)
    references = References()
    outcome = check(task, "base", "def f(x): return 2", references, runner)
    assert outcome.passed is first
    assert first or outcome.reason.startswith("the sample is broken: its reference fails call 1 of base: ProgramEnded")
    assert check(task, "base", "def f(x): return 2", references, runner).passed is later
