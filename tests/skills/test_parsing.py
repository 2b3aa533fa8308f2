import contextlib
import gc
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.parsing import LiteralError, blocks, fenced_block, read_literal


def test_reads_plain_literals() -> None:
    assert read_literal(" [1, ('a', None), {'b': 2.5}] ") == [1, ("a", None), {"b": 2.5}]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('/etc/passwd').read()",
        "[x for x in (1, 2)]",
        "().__class__",
        "9**9**9",
        "'a' * 10",
        "f'{1}'",
        "{[]: 1}",
        "{{}}",
        "<object at 0x7f>",
        "1; 2",
        "",
        "\0",
        "9" * 5000,
        "[" * 500,
        "(" * 5000 + ")" * 5000,
        "-" * 10_000 + "1",
        "1" + "+1j" * 3000,
    ],
)
def test_refuses_what_is_no_literal(text: str) -> None:
    with pytest.raises(LiteralError):
        read_literal(text)


def test_refuses_long_texts_unread() -> None:
    with pytest.raises(LiteralError, match="at most 10"):
        read_literal("[1, 2, 3, 4]", max_chars=10)


@given(st.text(max_size=200))
def test_any_text_is_a_literal_or_refused(text: str) -> None:
    with contextlib.suppress(LiteralError):
        read_literal(text)


def test_finds_the_first_block_of_the_language() -> None:
    text = "Look:\n```text\nno\n```\n```bash\nls\npwd\n```\n```bash\nrm x\n```"
    assert fenced_block(text, ("bash", "sh")) == "ls\npwd"


def test_a_block_needs_no_language_and_ignores_case() -> None:
    assert fenced_block("```\nls\n```", ("bash",)) == "ls"
    assert fenced_block("```Bash \r\nls\r\n```", ("bash",)) == "ls"


def test_a_cut_block_is_no_block() -> None:
    assert fenced_block("```bash\nrm -r /home/a", ("bash",)) is None


def test_other_languages_are_no_match() -> None:
    assert fenced_block("```sql\nSELECT 1;\n```", ("bash",)) is None


@given(st.text(alphabet="`\nbash $", max_size=400))
def test_any_text_is_searched(text: str) -> None:
    block = fenced_block(text, ("bash",))
    assert block is None or block in text


def test_threads_read_literals_at_the_same_time() -> None:
    # On CPython 3.11 parses raise SystemError when a garbage collection in one lets another thread in.
    def let_others_in(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    text = str([[[index, (index, {index: [index]})] for index in range(60)] for _ in range(4)])
    gc.callbacks.append(let_others_in)
    try:
        with ThreadPoolExecutor(8) as threads:
            values = list(threads.map(lambda _: read_literal(text), range(200)))
    finally:
        gc.callbacks.remove(let_others_in)
    assert all(value == values[0] for value in values)


@given(st.lists(st.sampled_from(["```sql\n", "\n```", "\n", "```", "a"])).map("".join))
def test_blocks_are_those_of_the_expression_that_agentbench_uses(text: str) -> None:
    assert list(blocks(text, "```sql\n")) == re.findall(r"```sql\n(.*?)\n```", text, re.DOTALL)
