"""AgentBench's comparators and `match`, one by one."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.agentbench_os.checks import (
    COMPARATORS,
    answer_of,
    contains,
    is_in,
    is_pattern,
    matches,
    same_integer,
    same_size,
    same_text,
)
from cycleqd.skills.parsing import LONG_REPLY_CHARS


def test_integers_are_compared_as_integers() -> None:
    assert same_integer(" 07 ", "7\n")
    assert not same_integer("7.0", "7")
    assert not same_integer("seven", "7")
    assert not same_integer("None", "7")
    assert not same_integer("9" * 8000, "7")


def test_texts_are_equal_but_for_line_ends_and_space_around() -> None:
    assert same_text("installed", "installed\n")
    assert same_text("a\r\nb", "a\nb\n")
    assert not same_text("a b", "a\nb")
    assert not same_text("Installed", "installed")


def test_containing_wants_the_output_in_the_answer_and_in_the_answer_in_the_output() -> None:
    assert contains("it is 42, I think", "42\n")
    assert not contains("4", "42")
    assert is_in("4", "42\n")
    assert not is_in("it is 42", "42")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [("4K", "4096"), (" 4 K", "4K\n"), ("1M", "1024K"), ("2048M", "2G"), ("1T", "1024G"), ("1P", "1024T"),
     ("12B", "12"), ("12", "12\n"), ("1024Byte", "1K"), ("+1024", "1K"), ("-4K", "-4096"),
     ("9007199254740993", "9007199254740993B")],
)  # fmt: skip
def test_sizes_are_equal_in_powers_of_1024(answer: str, wanted: str) -> None:
    assert same_size(answer, wanted)
    assert same_size(wanted, answer)


@pytest.mark.parametrize(
    "answer",
    ["", "K", "4X", "four", "4K used", "4,0K", "1e3", "1KB", "1 MB", "1k", "1.5K", "4.0K", "1 bytes", "9" * 5000],
)
def test_what_is_no_size_to_the_published_script_equals_none(answer: str) -> None:
    assert not same_size(answer, "4K")
    assert not same_size(answer, answer)


def test_sizes_beyond_what_a_float_holds_are_exact() -> None:
    assert not same_size("9007199254740993", "9007199254740992")
    assert not same_size("9007199254740993K", "9007199254740992K")


@given(st.sampled_from(sorted(COMPARATORS)), st.text(), st.text())
def test_comparators_say_yes_or_no_to_any_text(name: str, answer: str, wanted: str) -> None:
    assert COMPARATORS[name](answer, wanted) in (True, False)


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_an_integer_equals_itself_whatever_is_around_it(number: int) -> None:
    assert same_integer(f" {number}\n", str(number))


def test_match_compares_the_stripped_answer() -> None:
    assert matches(" log \n", {"answer": "log"})
    assert not matches("log.txt", {"answer": "log"})
    assert not matches("LOG", {"answer": "log"})


def test_a_pattern_is_searched_in_the_stripped_answer() -> None:
    assert matches("the answer is 42.", {"regex": "[0-9]+"})
    assert matches(" 42 ", {"regex": "^42$"})
    assert not matches("x42", {"regex": "^42$"})


def test_a_pattern_that_explodes_is_stopped() -> None:
    began = time.monotonic()
    assert not matches("a" * 60 + "!", {"regex": r"^(a|aa|a?a)+(b|bb)+$"})
    assert not matches("a" * LONG_REPLY_CHARS, {"regex": r"(a*)*(a*)*b"})
    assert time.monotonic() - began < 10


def test_an_answer_is_read_off_a_pattern_where_that_is_plain() -> None:
    assert answer_of({"answer": "x"}) == "x"
    assert answer_of({"regex": r"^1\.5$"}) == "1.5"
    assert answer_of({"regex": "[0-9]+ files"}) is None


def test_invalid_patterns_are_known() -> None:
    assert is_pattern("a+")
    assert not is_pattern("(")
