"""The accuracy over several people's answers, and what of an answer counts."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.vision_questions.accuracy import accuracy, best_answer, normalised


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        # The rules of https://visualqa.org/evaluation.html, one after the other.
        ("STOP", "stop"),
        ("It is red.", "it is red"),
        ("3.5", "3.5"),
        ("two", "2"),
        ("None", "0"),
        ("the Eiffel Tower", "eiffel tower"),
        ("a an the", ""),
        ("dont walk", "don't walk"),
        ("don’t walk", "don't walk"),
        ("John's", "john's"),
        ("10:30", "10:30"),
        ("100,978", "100978"),
        ("red,blue", "red blue"),
        ("red-and_white!", "red and white"),
        ("  two   words \n", "2 words"),
        ("its", "its"),
        ("u.s.a.", "usa"),
    ],
)
def test_what_counts_follows_the_published_description(text, counts):
    assert normalised(text) == counts
    assert normalised(counts) == counts


@pytest.mark.parametrize(("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_ten_people_who_agree_or_not_give_the_published_steps(same, score):
    answers = ["stop"] * same + [f"other {number}" for number in range(10 - same)]
    assert accuracy("Stop.", answers) == pytest.approx(score, abs=1e-12)


@given(st.lists(st.sampled_from(["a b", "cat", "Cat.", "2", "two"]), min_size=2, max_size=10), st.sampled_from("2b"))
def test_it_is_the_mean_over_all_choices_of_all_people_but_one(answers, reply):
    said = [normalised(answer) for answer in answers]
    choices = list(combinations(range(len(said)), len(said) - 1))
    wanted = sum(min(1.0, sum(said[index] == normalised(reply) for index in chosen) / 3) for chosen in choices) / len(
        choices
    )
    assert accuracy(reply, answers) == pytest.approx(wanted, abs=1e-6)


def test_the_only_known_answer_is_right_or_wrong():
    assert (accuracy("The circle!", ["circle"]), accuracy("square", ["circle"])) == (1.0, 0.0)


def test_nothing_to_compare_with_is_refused():
    with pytest.raises(ValueError, match="at least one answer"):
        accuracy("x", [])


def test_the_best_answer_is_what_most_people_say_however_they_write_it():
    assert best_answer(["go", "Stop", "stop.", "halt"]) == "Stop"
