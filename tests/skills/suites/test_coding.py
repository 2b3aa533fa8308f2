import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.oracle import OracleAgent, play
from cycleqd.skills.protocol import Sample
from cycleqd.skills.suites.coding import CodingSkill, program_of, same_literal, same_value

_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(_values)
def test_a_value_is_the_same_as_its_own_text(value: object) -> None:
    if not isinstance(value, float) and "inf" not in repr(value):
        assert same_literal(repr(value), repr(value))
    assert same_value(value, value)


@given(_values, _values)
def test_sameness_is_symmetric_and_implies_equality_up_to_tolerance(a: object, b: object) -> None:
    assert same_value(a, b) == same_value(b, a)
    if same_value(a, b) and not isinstance(a, float | list | tuple | dict):
        assert a == b


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("True", "1"),
        ("0", "False"),
        ("[1, 2]", "(1, 2)"),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "[1, 2, 3]"),
        ("'1'", "1"),
        ("None", "0"),
        ("{'a': 1}", "{'a': 2}"),
        ("{'a': 1}", "{'a': 1, 'b': 1}"),
        ("1.0001", "1"),
        ("3", "4"),
        ("'Fig'", "'fig'"),
        ("'fig '", "'fig'"),
        ("1" + "0" * 400, "1.5"),
    ],
)
def test_near_misses_are_refused(actual: str, expected: str) -> None:
    assert not same_literal(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected"), [("0.30000000000000004", "0.3"), ("2.0", "2"), ("{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}")]
)
def test_harmless_differences_are_accepted(actual: str, expected: str) -> None:
    assert same_literal(actual, expected)


@pytest.mark.parametrize(
    "text", [None, "", "nan", "__import__('os')._exit(0)", "[" * 300, "1" * 20_000, "<Always ==>"]
)
def test_values_that_are_no_literals_never_pass(text: str | None) -> None:
    assert not same_literal(text, "1")


def test_nan_equals_nothing() -> None:
    assert not same_value(math.nan, 1.0)


@pytest.mark.parametrize(
    "reply",
    [
        "```python\ndef f(x):\n    return x\n```",
        "Here it is:\n```py\ndef f(x):\n    return x\n```\nIt returns x.",
        "```\ndef f(x):\n    return x\n```",
        "def f(x):\n    return x\n",
        "def f(x):\n    return x\n```\n\nThis function returns x.",
    ],
)
def test_finds_the_program(reply: str) -> None:
    assert program_of(reply) == "def f(x):\n    return x"


@pytest.mark.parametrize("reply", ["", "I can't.", "```python\n```", "```sql\nSELECT 1;\n```"])
def test_finds_no_program_where_there_is_none(reply: str) -> None:
    assert program_of(reply) is None


def test_the_shown_assertion_is_one_of_the_calls() -> None:
    for sample in CodingSkill(seed=0, counts={"train": 80}).samples("train"):
        name, data = sample.data["entry_point"], sample.data
        arguments = data["calls"][0][1:-1].rstrip(",")
        assert data["assertion"] == f"assert {name}({arguments}) == {data['expected'][0]}"
        assert len(data["calls"]) >= 6
        assert len(set(data["expected"])) > 1, f"{sample.id}: a constant function would pass"


def _one(template: str) -> Sample:
    samples = CodingSkill(seed=0, counts={"train": 80}).samples("train")
    return next(sample for sample in samples if sample.template == template)


@pytest.mark.docker
def test_near_miss_programs_fail_in_the_sandbox(sandboxes: Sandboxes) -> None:
    skill = CodingSkill(seed=0, counts={})
    sample = _one("keep-greater")
    gold = skill.gold_replies(sample)[0]
    shown = sample.data["assertion"].split("== ", 1)[1]
    name = sample.data["entry_point"]
    hacks = {
        "wrong comparison": gold.replace(">", ">="),
        "echo of the shown value": f"```python\ndef {name}(nums):\n    return {shown}\n```",
        "wrong name": gold.replace(name, "other"),
        "always equal": "```python\nclass A(list):\n    def __eq__(self, o):\n        return True\n"
        f"    def __repr__(self):\n        return 'A()'\ndef {name}(nums):\n    return A()\n```",
        "exit": "```python\nimport os\nos._exit(0)\n```",
        "printing": f"```python\nprint({shown})\n```",
        "syntax error": f"```python\ndef {name}(nums) return\n```",
        "nothing returned": f"```python\ndef {name}(nums):\n    pass\n```",
    }
    with skill.session(sandboxes) as session:
        assert play(session, sample, OracleAgent([gold])).verdict.score == 1.0
        for what, reply in hacks.items():
            verdict = play(session, sample, OracleAgent([reply])).verdict
            assert verdict.score == 0.0, what
            assert verdict.reason
