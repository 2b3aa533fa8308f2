"""Solutions judged in a real container: right ones, wrong ones, and attacks on the judge."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cycleqd.sandbox import ProgramRunner, Sandboxes
from cycleqd.skills.benchmarks.benchmark import Source
from cycleqd.skills.benchmarks.mbpp_plus.check import Outcome, References, check
from cycleqd.skills.benchmarks.mbpp_plus.data import Task
from cycleqd.skills.benchmarks.mbpp_plus.skill import IMAGE, MEMORY_MB, MbppPlusSkill
from cycleqd.skills.oracle import EmptyAgent, OracleAgent, oracle_of, play_all
from cycleqd.skills.protocol import Sample
from tests.skills.benchmarks.benchmark_data import MBPP, needs_mbpp
from tests.skills.benchmarks.mbpp_plus.test_data import record, written

pytestmark = pytest.mark.docker

SQUARES = Task(
    "Mbpp/9999",
    "squares",
    "def squares(n):\n    return [i * i for i in range(n)]",
    {"base": [[3], [0]], "plus": [[n] for n in range(50)]},
    0.0,
)
RIGHT = "def squares(n):\n    return [i ** 2 for i in range(n)]"


@pytest.fixture(scope="module")
def runner(sandboxes: Sandboxes) -> Iterator[ProgramRunner]:
    with sandboxes.runner(image=IMAGE, memory_mb=MEMORY_MB) as opened:
        yield opened


def judged(runner: ProgramRunner, solution: str, task: Task = SQUARES, suite: str = "base") -> Outcome:
    return check(task, suite, solution, References(), runner)


def task(entry_point: str, reference: str, *inputs: list[Any], number: int = 9999, atol: float = 0.0) -> Task:
    return Task(f"Mbpp/{number}", entry_point, reference, {"base": list(inputs), "plus": []}, atol)


@pytest.fixture(scope="module")
def skill() -> MbppPlusSkill:
    return MbppPlusSkill(counts={"optimization": 12, "test": 12}, source=Source(data=str(MBPP)))


@needs_mbpp
def test_gold_solutions_pass_base_and_plus_and_silence_passes_nothing(
    skill: MbppPlusSkill, sandboxes: Sandboxes
) -> None:
    # All 189 of them: `cycleqd audit mbpp_plus`.
    samples = skill.samples("test")
    gold = play_all(skill, samples, sandboxes, oracle_of(skill))
    assert [(p.sample.id, p.verdict.reason) for p in gold if p.verdict.score + p.verdict.extra["plus"] < 2] == []
    silent = play_all(skill, samples, sandboxes, lambda _: EmptyAgent())
    assert {(p.verdict.score, p.verdict.extra["plus"]) for p in silent} == {(0.0, 0.0)}


@needs_mbpp
@pytest.mark.parametrize("number", [87, 391, 557, 630])
def test_the_hardest_gold_solutions_pass(number: int, sandboxes: Sandboxes) -> None:
    # The longest results of the file (630: two megabytes), and a helper that evalplus' sanitising drops (630).
    whole = MbppPlusSkill(counts={}, source=Source(data=str(MBPP)))
    samples = [*whole.samples("optimization"), *whole.samples("test")]
    sample = next(sample for sample in samples if sample.id == f"Mbpp/{number}")
    (played,) = play_all(whole, [sample], sandboxes, oracle_of(whole))
    assert (played.verdict.score, played.verdict.extra) == (1.0, {"plus": 1.0}), played.verdict.reason


@needs_mbpp
def test_a_solution_of_the_shown_case_alone_fails(skill: MbppPlusSkill, sandboxes: Sandboxes) -> None:
    samples = skill.samples("optimization")

    def constant(sample: Sample) -> OracleAgent:
        return OracleAgent([f"```python\ndef {sample.data['entry_point']}(*args):\n    return 1\n```"])

    played = play_all(skill, samples, sandboxes, constant)
    assert sum(p.verdict.extra["plus"] for p in played) == 0


def test_records_of_humaneval_plus_are_played_too(tmp_path: Path, sandboxes: Sandboxes) -> None:
    # There the prompt is the function's head, and the canonical solution its body.
    head = 'def add(n: int) -> int:\n    """Add one.\n    >>> add(1)\n    2\n    """\n'
    row = record(0, task_id="HumanEval/0", prompt=head, canonical_solution="    return n + 1\n")
    human = MbppPlusSkill(counts={}, source=written(tmp_path / "x.jsonl", row))
    assert human.origin.version == "HumanEval+"
    samples = [*human.samples("optimization"), *human.samples("test")]
    (played,) = play_all(human, samples, sandboxes, oracle_of(human))
    assert (played.verdict.score, played.verdict.extra) == (1.0, {"plus": 1.0})


def test_records_of_humaneval_are_judged_by_their_own_test(tmp_path: Path, sandboxes: Sandboxes) -> None:
    head = 'def half(n):\n    return n // 2\n\n\ndef double(n: int) -> int:\n    """Twice n."""\n'
    test = (
        "\n\nMETADATA = {}\n\ndef check(candidate):\n    assert all(half(candidate(n)) == n for n in range(9)), 'no'\n"
    )
    row = {"task_id": "HumanEval/0", "prompt": head, "entry_point": "double", "test": test}
    human = MbppPlusSkill(
        counts={}, source=written(tmp_path / "x.jsonl", row | {"canonical_solution": "    return n * 2\n"})
    )
    assert human.origin.version == "HumanEval"
    samples = [*human.samples("optimization"), *human.samples("test")]

    def verdict(body: str) -> tuple[float, str, dict[str, float]]:
        replies = [f"```python\ndef double(n):\n    {body}\n```"] if body else human.gold_replies(samples[0])
        (played,) = play_all(human, samples, sandboxes, lambda _: OracleAgent(replies))
        return played.verdict.score, played.verdict.reason, dict(played.verdict.extra)

    assert verdict("") == (1.0, "pass (1 calls)", {})
    assert verdict("return n + n")[0] == 1.0
    future = "```python\nfrom __future__ import annotations\n\n\ndef double(n: int) -> int:\n    return 2 * n\n```"
    (played,) = play_all(human, samples, sandboxes, lambda _: OracleAgent([future]))
    assert played.verdict.score == 1.0
    score, reason, extra = verdict("return n + 2")
    assert (score, extra) == (0.0, {})
    assert "AssertionError: no" in reason
    equal = "return type('Equal', (), {'__floordiv__': lambda self, n: self, '__eq__': lambda self, other: True})()"
    assert "the result is of no plain type" in verdict(equal)[1]
    assert verdict("import os; os._exit(0); return 1")[0] == 0.0


def test_base_and_plus_are_told_apart(runner: ProgramRunner) -> None:
    shown = "def squares(n):\n    return [0, 1, 4, 9][:n]"
    assert judged(runner, shown).passed
    outcome = judged(runner, shown, suite="plus")
    assert not outcome.passed
    assert outcome.reason == "squares(5) gave [0, 1, 4, 9], expected [0, 1, 4, 9, 16]"


ATTACKS = {
    "prints": "def squares(n):\n    print([0, 1, 4])\n    print('[true,[0,1,4]]')",
    "prints without end": "def squares(n):\n    while True: print('x' * 100_000)",
    "exits": "import sys\ndef squares(n):\n    sys.exit(0)",
    "exits on import": "import sys\nsys.exit(0)\ndef squares(n): return 1",
    "ends the process": "import os\ndef squares(n):\n    os._exit(0)",
    "kills its group": "import os, signal\ndef squares(n):\n    os.killpg(0, signal.SIGKILL)",
    "kills everything": "import os, signal\ndef squares(n):\n    os.kill(-1, signal.SIGKILL)\n    return 1",
    "forks": "import os\ndef squares(n):\n    while True: os.fork()",
    "starts processes": "import subprocess\ndef squares(n):\n    return subprocess.run(['sleep', '100'])",
    "starts threads": "import threading\ndef squares(n):\n    threading.Thread(target=print).start()",
    "sleeps": "import time\ndef squares(n):\n    time.sleep(1000)",
    "works without end": "def squares(n):\n    while True: pass",
    "ignores its time": (
        "def squares(n):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass"
    ),
    "allocates": "def squares(n):\n    x = []\n    while True: x.append(bytearray(10**7))",
    "recurses": "def squares(n):\n    return squares(n)",
    "returns too much": "def squares(n):\n    return list(range(10**7))",
    "returns a long text": "def squares(n):\n    return 'x' * 10**8",
    "returns a generator without end": "import itertools\ndef squares(n):\n    return itertools.count()",
    "raises in repr": "class X:\n    def __repr__(self): raise SystemExit\ndef squares(n):\n    return X()",
    "equals everything": (
        "class X(list):\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
        "    def __len__(self): return 3\n    __hash__ = None\ndef squares(n):\n    return X()"
    ),
    "lies about its class": (
        "class X:\n    __class__ = list\n    def __eq__(self, o): return True\n"
        "    def __iter__(self): return iter([0])\ndef squares(n):\n    return X()"
    ),
    "replaces builtins": (
        "import builtins, math, sys, json\nbuiltins.all = builtins.any = lambda *a: True\n"
        "builtins.isinstance = lambda *a: True\nmath.isclose = lambda *a, **k: True\n"
        "json.dumps = lambda *a, **k: '[true,true]'\nsys.modules.clear()\ndef squares(n):\n    return True"
    ),
    "reads the expected values": (
        "import gc, sys\ndef squares(n):\n"
        "    found = [o for o in gc.get_objects() if isinstance(o, list) and o[:1] == [0]]\n"
        "    frame = sys._getframe()\n    while frame:\n"
        "        found += [v for v in frame.f_locals.values() if v == [0, 1, 4]]\n"
        "        frame = frame.f_back\n    return [v for v in found if v[:2] == [0, 1]][0]"
    ),
    "reads files": (
        "import os\ndef squares(n):\n    text = ''\n"
        "    for folder in ('/tests', '/work', '/proc/1', '/proc/self/fd', '/tmp'):\n"
        "        for name in os.listdir(folder):\n"
        "            text += open(os.path.join(folder, name)).read()\n    return text"
    ),
    "writes to every descriptor": (
        "import os\ndef squares(n):\n    for d in range(64):\n"
        "        try: os.write(d, b'[\"1.0 [true,[0,1,4]]\", null]\\n' * 99)\n"
        "        except OSError: pass\n    os._exit(0)"
    ),
    "traces": "import sys\ndef squares(n):\n    sys.settrace(lambda *a: 1 / 0)\n    return len('')",
    "is no program": "def squares(n:",
    "defines something else": "squares = 3",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails_alone_within_its_limits(name: str, runner: ProgramRunner) -> None:
    outcome = judged(runner, ATTACKS[name])
    assert not outcome.passed, outcome.reason
    assert len(outcome.reason) < 400
    assert judged(runner, RIGHT).passed
    assert judged(runner, RIGHT, suite="plus").passed


def test_tolerances_are_those_of_evalplus(runner: ProgramRunner) -> None:
    half = task("half", "def half(x):\n    return x / 2", [1], [3])
    assert judged(runner, "def half(x):\n    return x / 2 + 1e-7", half).passed
    assert not judged(runner, "def half(x):\n    return x / 2 + 1e-5", half).passed
    # A float is wanted, and near it only a float will do; equal to it, anything.
    whole = task("half", "def half(x):\n    return x / 2", [2])
    assert judged(runner, "def half(x):\n    return x // 2", whole).passed
    loose = task("half", "def half(x):\n    return x / 2", [1], atol=0.1)
    assert judged(runner, "def half(x):\n    return x / 2 + 0.05", loose).passed
    pairs = task("f", "def f(x):\n    return [x / 3, x / 7]", [1])
    assert judged(runner, "def f(x):\n    return [x / 3 + 1e-8, x / 7]", pairs).passed
    assert not judged(runner, "def f(x):\n    return (x / 3 + 1e-8, x / 7)", pairs).passed
    assert not judged(runner, "def f(x):\n    return [x / 3]", pairs).passed


def test_exact_results_need_no_tolerance_and_get_none(runner: ProgramRunner) -> None:
    double = task("f", "def f(x):\n    return 2 * x", [1])
    assert judged(runner, "def f(x):\n    return 2.0", double).passed  # 2 == 2.0, as evalplus compares
    assert not judged(runner, "def f(x):\n    return 2.0000001", double).passed
    assert not judged(runner, "def f(x):\n    return '2'", double).passed
    nothing = task("f", "def f(x):\n    return None", [1])
    assert judged(runner, "def f(x):\n    pass", nothing).passed
    assert not judged(runner, "def f(x):\n    return 0", nothing).passed


def test_problems_with_several_right_answers_have_oracles_of_their_own(runner: ProgramRunner) -> None:
    shared = task("similar_elements", "def similar_elements(a, b):\n    return (4, 5)", [[4, 5], [5, 4]])
    for right in ("[5, 4]", "{4, 5}", "(4, 5, 4)", "iter([5, 4])", "(n for n in (4, 5))", "{4: 1, 5: 1}.keys()"):
        assert judged(runner, f"def similar_elements(a, b):\n    return {right}", shared).passed, right
    array = "import numpy as np\ndef similar_elements(a, b):\n    return np.array([5, 4])"
    assert judged(runner, array, shared).passed
    assert not judged(runner, "def similar_elements(a, b):\n    return [4]", shared).passed
    found = task("check_str", "import re\ndef check_str(s):\n    return re.match('a', s)", ["ab"], ["b"])
    assert judged(runner, "def check_str(s):\n    return s[0] == 'a'", found).passed
    assert judged(runner, "def check_str(s):\n    return 'yes' if s[0] == 'a' else None", found).passed
    assert not judged(runner, "def check_str(s):\n    return True", found).passed


def test_arguments_of_every_type_arrive_and_changes_to_them_stay_in_the_container(runner: ProgramRunner) -> None:
    values: list[Any] = [
        [1],
        (2, 3),
        {4},
        frozenset({5}),
        {"k": (6,)},
        1 + 2j,
        float("inf"),
        None,
        True,
        10**400,
        "é\n",
        {},
    ]
    names = task("f", "def f(*a):\n    return [type(x).__name__ for x in a] + [str(a[5]), len(str(a[9]))]", values)
    assert judged(runner, names.reference, names).passed
    changed = task("f", "def f(a):\n    return a + [1]", [[0]], [[0]])
    assert judged(runner, "def f(a):\n    a.append(1)\n    return a", changed).passed
    assert changed.inputs["base"] == [[[0]], [[0]]]


def test_numpy_is_there_as_in_evalplus(runner: ProgramRunner) -> None:
    total = task("f", "def f(a):\n    return sum(a)", [[1, 2]])
    assert judged(runner, "import numpy as np\ndef f(a):\n    return np.sum(a)", total).passed


def test_a_sample_whose_reference_fails_is_reported_as_broken(runner: ProgramRunner) -> None:
    outcome = judged(runner, "def f(x):\n    return 1", task("f", "def f(x):\n    return 1 / 0", [1]))
    assert not outcome.passed
    assert outcome.reason.startswith("the sample is broken: its reference fails call 1 of base: ZeroDivisionError")
