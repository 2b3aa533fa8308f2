"""AgentBench's published rules for database answers, one by one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.agentbench_db.judge import (
    answer_values,
    category,
    published_form,
    same_answer,
    table_hash,
)


@pytest.mark.parametrize(
    "answer", [' ["7"]', " [7]", " [7.0]", " 7", " 7.0", " 7e0", " ('7',)", " {'7'}", " {'7': 1}"]
)
def test_one_number_is_compared_as_a_number_however_it_is_written(answer: str) -> None:
    assert same_answer(answer, ["7"])
    assert same_answer(answer, ["7.0"])
    assert not same_answer(answer, ["8"])


def test_numbers_are_compared_exactly() -> None:
    assert not same_answer("[45.67]", ["45.666666"])
    assert not same_answer("['1,000']", ["1000"])
    assert not same_answer("['nan']", ["nan"])
    assert same_answer("['inf']", ["Infinity"])
    assert not same_answer(f"[{'9' * 400}]", ["1"])


def test_one_string_is_compared_to_the_letter() -> None:
    assert same_answer('["Giza"]', ["Giza"])
    assert not same_answer('["giza"]', ["Giza"])
    assert not same_answer('["Giza "]', ["Giza"])


def test_an_answer_that_is_no_literal_is_its_text_with_the_space_before_it() -> None:
    assert same_answer("Giza", ["Giza"])
    assert not same_answer(" Giza", ["Giza"])
    assert same_answer(" [Giza", [" [Giza"])
    assert answer_values(" __import__('os').getcwd()") == [" __import__('os').getcwd()"]
    assert answer_values(" [3 * 4]") == [" [3 * 4]"]


def test_a_quoted_string_is_the_list_of_its_characters() -> None:
    assert same_answer(' "7"', ["7"])
    assert not same_answer(' "Giza"', ["Giza"])
    assert same_answer(' "ab"', ["b", "a"])


def test_several_values_are_sets_without_order_and_repetition() -> None:
    assert same_answer('["b", "a", "a"]', ["a", "b"])
    assert same_answer('"b", "a"', ["a", "b"])
    assert not same_answer('["a"]', ["a", "b"])
    assert not same_answer('["a", "b", "c"]', ["a", "b"])


def test_in_sets_a_number_is_not_its_text() -> None:
    assert not same_answer("[1, 2]", ["1", "2"])
    assert not same_answer("['1.0', '2']", ["1", "2"])
    assert same_answer("['a', 'a']", ["a"])  # two values against one: sets


def test_a_row_is_no_value() -> None:
    assert not same_answer("[('a',)]", ["a"])
    assert not same_answer("[['a'], ['b']]", ["a", "b"])
    assert not same_answer("[{}, 'b']", ["a", "b"])


def test_the_empty_list_is_right_for_an_empty_label_only() -> None:
    assert same_answer(" []", [])
    assert not same_answer(" []", ["0"])
    assert not same_answer(" ['0']", [])
    assert not same_answer("", [])


def test_null_is_a_value_of_its_own() -> None:
    assert not same_answer("[None]", ["None"])
    assert same_answer("['None']", ["None"])
    assert same_answer("[None]", [None])
    assert not same_answer("[None]", ["0"])
    assert same_answer('["none"]', ["none"])


def test_a_hostile_answer_is_wrong_at_once() -> None:
    assert not same_answer("[" * 5000 + "]" * 5000, ["a"])
    assert not same_answer("9" * 20_000, ["9"])
    assert not same_answer("[" + "1, " * 100_000 + "]", ["1"])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_the_label_is_its_own_right_answer(label: list[str]) -> None:
    assert same_answer(f" {label}", label) or (len(label) == 1 and label[0].strip().lower().lstrip("+-") == "nan")


@given(st.text())
def test_any_text_has_values(text: str) -> None:
    assert isinstance(answer_values(text), list)
    assert same_answer(text, ["x", "y"]) in (True, False)


def test_the_hash_leaves_null_out_and_knows_no_order_of_rows() -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    parts = sorted([md5("a,b")[:5], md5("c")[:5]])
    assert table_hash([("a", "b"), ("c", None)]) == md5(",".join(parts))
    assert table_hash([("c", None), ("a", "b")]) == table_hash([("a", "b"), (None, "c")])


def test_an_empty_table_has_no_hash() -> None:
    assert table_hash([]) is None
    assert published_form([]) == "[(None,)]"
    assert published_form([("a",)]) == f"[('{table_hash([('a',)])}',)]"


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2003", "\x0b", "\x1c", "\x85", "\ufeff"])
def test_a_list_in_foreign_spaces_is_text_as_it_is_to_python(space: str) -> None:
    assert not same_answer(f"{space}['a', 'b']", ["a", "b"])
    assert not same_answer(f" ['a']{space}", ["a"])
    assert answer_values(f"{space}['a']") == [f"{space}['a']"]
    assert same_answer(f" ['{space}a']", [f"{space}a"])


@pytest.mark.parametrize("space", ["", " ", "\t", " \t ", "\r", "\x0c"])
def test_a_list_in_pythons_own_spaces_is_a_list(space: str) -> None:
    assert same_answer(f"{space}['a', 'b']{space}", ["a", "b"])


def test_the_headline_has_three_categories_and_what_is_no_insert_or_update_is_a_select() -> None:
    assert [category(kind) for kind in ("INSERT", "UPDATE", "DELETE", "counting", "other")] == [
        *("INSERT", "UPDATE", "SELECT", "SELECT", "SELECT")
    ]
