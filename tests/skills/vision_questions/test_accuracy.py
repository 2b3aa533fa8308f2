"""The accuracy over several people's answers, and what of an answer counts."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.vision_questions.accuracy import accuracy, best_answer, normalised


@pytest.mark.parametrize(
    ("text", "counts"),
    # What EvalAIAnswerProcessor of MMF makes of each (mmf/utils/m4c_evaluators.py, commit 2dc099a, run 2026-11-27).
    [
        ("STOP", "stop"),
        ("It is red.", "it is red"),
        ("3.5", "3.5"),
        (".99", ".99"),
        ("1.", "1"),
        ("www.a.com", "wwwacom"),
        ("u.s.a.", "usa"),
        ("$5", "$5"),
        ("50%", "50%"),
        ("AT&T", "at&t"),
        ("#1", "#1"),
        ("m*a*s*h", "m*a*s*h"),
        ("10:30", "10:30"),
        ("two", "2"),
        ("None", "0"),
        ("one-two", "1 2"),
        ("the Eiffel Tower", "eiffel tower"),
        ("a an the", ""),
        ("the-a", ""),
        ("100,978", "100978"),
        ("red,blue", "redblue"),
        ("what?no", "whatno"),
        ("red-and_white!", "red and white"),
        ("red - white", "red white"),
        ("a/b c/ d", "ab c d"),
        ("(old)well-known", "old well known"),
        ("-5", "5"),
        ("  two   words \n", "2 words"),
        ("one\nthe\ttwo", "1 2"),
        ("dont walk", "don't walk"),
        ("don’t walk", "don’t walk"),
        ("couldnt've", "couldn't've"),
        ("twas", "'twas"),
        ("thats", "that's"),
        ("that's", "that 's"),
        ("John's", "john 's"),
        ("I'm", "i'm"),
        ("im", "im"),
        ("its", "its"),
        ("somebody'd", "somebodyd"),
        ("." * 33, "."),
    ],
)
def test_what_counts_is_what_the_published_program_makes_of_it(text, counts):
    assert normalised(text) == counts


@pytest.mark.parametrize(
    ("reply", "answer"), [("5", "$5"), ("50", "50%"), ("99", ".99"), ("1", "#1"), ("att", "AT&T"), ("thats", "that's")]
)
def test_answers_that_the_published_program_tells_apart_are_wrong(reply, answer):
    assert accuracy(reply, [answer] * 10) == 0
    assert accuracy(answer, [answer] * 10) == 1


@given(st.text(alphabet="ab 5.,?'s-/!$%&#*", max_size=12))
def test_case_and_space_around_an_answer_never_count(text):
    assert normalised(f" {text.upper()}\n") == normalised(text)


@given(st.sampled_from("$%&#*:'"), st.sampled_from(["5", "red", "b2"]))
def test_signs_that_carry_meaning_are_kept_on_either_side_of_a_word(sign, word):
    assert len({normalised(text) for text in (word, f"{word}{sign}", f"{sign}{word}")}) == 3


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
