"""What is taken out of a reply, beside what evalplus takes out of it. Nothing is executed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.mbpp_plus.extract import longest_run, solution_of

LINES = (
    *(
        "def f(x):",
        "    return 1",
        "    if x:",
        "        y = (1,",
        "        )",
        "    '''doc",
        "    '''",
        "'''",
        "",
        "  ",
    ),
    *("# c", "    # c", "Here is the code", "Here's", "Note", "```python", "```", "x = 1", "else:", "        pass"),
    *("@dec", "class A:", "try:", "finally:", "x = [", "]", "import os", "x = 1 \\", "- item", "(see", ")", '"""'),
    *("\tz = 1", "    yield i", "f(1)", "\f", "\xa0", "x = 'a\u2028b'", "    return {", "    }", "x\r", "1. First"),
)
"""What replies are made of: programs, and prose around them."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=10))
def test_the_run_is_the_one_that_evalplus_finds(lines: list[str]) -> None:
    from evalplus.sanitize import code_extract

    text = "\n".join(lines)
    # Blank lines at the ends count for nothing.
    assert longest_run(text).strip(" \n\t\f\xa0") == code_extract(text).strip(" \n\t\f\xa0")


REPLIES = {
    "no fence": "def f(x):\n    return x",
    "one line": "f = abs",
    "a fence": "Sure!\n```python\ndef f(x):\n    return x\n```\nThat is all.",
    "an indented fence": "1. Do this:\n\n   ```python\n   def f(x):\n       return x\n   ```",
    "two fences": "```python\ndef f(x):\n    return x\n```\nor\n```\ndef f(x):\n    y = x\n    return y\n```\n",
    "a fence that does not close": "```python\nimport os\ndef f(x):\n    return g(x)\n\ndef g(x):\n    return x",
    "prose that is code": "Note\n\ndef f(x):\n    return x\n\nDone",
    "a helper that is decorated": "@wraps\ndef g(x):\n    return x\ndef f(x):\n    return g(x)\nimport os",
    "an entry point that is decorated": "@cache\ndef f(x):\n    return x",
    "an entry point that is decorated, and an import": "from functools import cache\n@cache\ndef f(x):\n    return x",
    "assignments": "A, B = 1, 2\nC = 3\nD: int = 4\nf.x = 1\ndef f(x):\n    return A + C + D",
    "statements": "import sys\nsys.setrecursionlimit(9999)\ndef f(x):\n    return x\nassert f(1)\nprint(f(2))",
    "a name twice": "def f(x):\n    return 1\ndef f(x):\n    return 2",
    "a class": "class A:\n    def g(self):\n        pass\ndef f(x):\n    return A().g()",
    "a main block": "def f(x):\n    return x\nif __name__ == '__main__':\n    print(f(1))",
    "a line separator in a text": "def f(x):\n    return 'a\u2028b\u2029\x85c' + x",
    "carriage returns": "```python\r\ndef f(x):\r\n    return x\r\n```\r\n",
    "a future": "from __future__ import annotations\ndef f(x: X):\n    return x",
    "nothing": "",
    "an answer that breaks off": "def f(x):\n    y = (x +\n",
    "a lambda": "g = lambda x: x\nf = lambda x: g(x)\n",
    "an async function": "async def f(x):\n    return x",
}


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_read_as_evalplus_reads_them(name: str) -> None:
    from evalplus.sanitize import sanitize

    assert solution_of(REPLIES[name], "f").strip() == sanitize(REPLIES[name], "f").strip()


def test_functions_without_return_are_put_back_where_they_are_called() -> None:
    reply = (
        "def h(n):\n    yield n\n\ndef g(n):\n    yield from h(n)\n\ndef unused():\n    pass\n\n"
        "@decorated\ndef k():\n    pass\n\ndef f(n):\n    k()\n    return list(g(n))\n"
    )
    solution = solution_of(f"Here:\n```python\n{reply}```", "f")
    assert [name for name in ("f", "g", "h", "unused", "k") if f"def {name}(" in solution] == ["f", "g", "h"]
    assert "def g" not in solution_of(reply.replace("list(g(n))", "'g(n)'"), "f")


def test_a_long_reply_is_read_to_its_end() -> None:
    lines = [f"    x{n} = (\n        {n},\n    )" for n in range(700)]
    program = "\n".join(["def f(x):", *lines, "    return x"])
    prose = "\n".join(f"Step {n}: think (about it) and don't stop." for n in range(300))
    reply = f"{prose}\n```python\n{program}\n```\n{prose}"
    assert solution_of(reply, "f") == program


@pytest.mark.parametrize(
    "text",
    ['x = """\n', "(\n", "def f():\n    x = [\n", "- a\n", "'\n", "\\\n", "\x00\n", "if x:\n", "\ud800\n", "@a\n"],
)
def test_no_reply_takes_work_without_end(text: str) -> None:
    # The work is counted in characters; evalplus' own way would take hours.
    assert isinstance(solution_of(text * (50_000 // len(text)), "f"), str)
