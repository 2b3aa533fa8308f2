"""Which letter a reply chooses: ordinary ways to say it count, and whoever does not choose gets nothing."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.jsonl.choice import LETTERS, check_choice, chosen, judge_choice

FRUIT = ("Apple", "Banana", "Cherry", "Date")
SECONDS = 20
"""Linear is below one; quadratic was 80."""
DOGS = ("A dog", "a cat", "Both A and B")
ALONE = (
    "{}",
    "({})",
    "[{}]",
    "**{}**",
    "`{}`",
    "{}.",
    "{})",
    "\\boxed{{{}}}",
    "$\\boxed{{\\text{{{}}}}}$",
    "{}\n",
    "**{}.**",
)
STATED = (
    "The answer is {}", "The answer is: {}", "The answer is: **{}**", "Answer: {}", "**Answer:** {}", "answer: ({}).",
    "Answer - {}", "Final answer:\n\n{}", "The correct choice is option {}.", "I choose {}.", "I'd go with option {}.",
    "The answer is {}, not Z.", "The answer to the question is {}.", "The answer is therefore {}.", "答案是{}",
    "Reasoning first.\n\n{}", "Step 1: fruit.\n({})", "The answer should be '{}'", "Option {}", "The answer is {}!",
    "The answer is Z? No wait, the answer is {}.",
)  # fmt: skip
IN_CAPITALS = (
    "{}, because Z is wrong",
    "{} because it is best",
    "{} is correct.",
    "{}: no doubt",
    "{}, not Z.",
    "Z) no. The answer is {}",
)
NOT_CHOSEN = (
    "", "The answer is Banana", "A or B", "A/B", "Answer: A and B", "A B C D", "A, B, C", "The answer is A or B",
    "The answer is not B", "I don't think the answer is B.", "Is the answer B?", "B is wrong", "Not B", "A dog barks",
    "The answer is E", "E", "Answer: A banana", "the answer is a banana", "a banana", "A) no B) yes", "A: no\nB: yes",
    "A. Apple\nB. Banana\nC. Cherry\nD. Date", "I would not choose B", "If the answer is B then fine", "B-52", "B's",
    "The answer is correct.", "A\nB\nC\nD", "(A) (B)", "\\boxed{A, B}", "\\boxed{Banana}", "Neither A nor B", "AB",
    "B?", "Blue",
    "b is", "I choose A or B", "The answer is either A or B", "Option A or option B",
)  # fmt: skip


@given(st.integers(2, 26), st.data())
def test_a_letter_is_chosen_in_every_ordinary_way(size, data):
    choices = [f"thing {number}" for number in range(size)]
    letter = data.draw(st.sampled_from(LETTERS[:size]))
    ways = [*ALONE, *STATED] if letter != "Z" else ALONE
    for way in ways:
        assert chosen(way.format(letter), choices) == letter, way
        assert chosen(way.format(letter.lower()), choices) == letter, way
    text = choices[LETTERS.index(letter)]
    for reply in (text, f"**{text}**.", f"{letter}) {text}", f"{letter.lower()}) {text}", f"{letter}: {text}",
                  f"{letter} {text}", f"Answer: {letter} - {text}", text.upper()):  # fmt: skip
        assert chosen(reply, choices) == letter, reply


@pytest.mark.parametrize("way", IN_CAPITALS)
@pytest.mark.parametrize("letter", "ABCD")
def test_a_letter_at_the_beginning_may_be_explained(way, letter):
    assert chosen(way.format(letter), FRUIT) == letter


@pytest.mark.parametrize("reply", NOT_CHOSEN)
def test_who_does_not_choose_one_gets_nothing(reply):
    assert chosen(reply, FRUIT) == ""


@given(st.lists(st.sampled_from("ABCD"), min_size=2, max_size=4, unique=True),
       st.sampled_from((" ", ", ", "/", " or ", " and ", "; ", " & ", "\n")),
       st.sampled_from(("{}", "The answer is {}", "Answer: {}.", "({})", "I choose {}", "\\boxed{{{}}}")))  # fmt: skip
def test_naming_several_is_choosing_none(letters, between, way):
    assert chosen(way.format(between.join(letters)), FRUIT) == ""


@pytest.mark.parametrize(("choices", "reply", "wanted"), [
    (DOGS, "A. A dog", "A"), (DOGS, "The answer is A. A dog barks.", "A"), (DOGS, "A dog", "A"), (DOGS, "a", "A"),
    (DOGS, "C. Both A and B", "C"), (DOGS, "Both A and B", "C"), (DOGS, "The answer is C: Both A and B", "C"),
    (("A cat", "A dog"), "A dog", "B"), (("B", "A"), "A", "A"), (("yes", "no"), "Yes.", "A"),
    (FRUIT, "B) Banana\n\nExplanation: A) is red, C) is red.", "B"), (FRUIT, "A) Apple\n\nReason: B) is yellow.", "A"),
    (FRUIT, "(B)\n\nBecause (A) is red and (C) is small.", "B"), (FRUIT, "A) is red.\nB) is yellow.\n\nB", "B"),
    (FRUIT, "A: wrong, C: right", ""), (FRUIT, "B) Banana C) Cherry", ""), (FRUIT, "A) Apple\n\nB) Banana", ""),
    (FRUIT, "D\n\nB", ""), (FRUIT, "A. Wrong.\nB. Right.", ""),
    (FRUIT, "B. A is wrong.", "B"), (FRUIT, "Answer: B) Banana\nExplanation: A) is red.", "B"),
    (LETTERS, "I think so", ""), (LETTERS, "I do not know", ""), (LETTERS, "(I)", "I"),
])  # fmt: skip
def test_words_that_are_letters_are_told_from_choices(choices, reply, wanted):
    assert chosen(reply, choices) == wanted


@given(st.text("ABab answeris:.()*\\{}\n-'", max_size=60))
def test_at_most_one_letter_is_right_for_any_reply(reply):
    scores = [judge_choice(reply, check_choice({"choices": list(FRUIT), "answer": one})).score for one in "ABCD"]
    assert sum(scores) in (0, 1)


@pytest.mark.parametrize("piece", [
    "answer ", "answer to ", "answer is ", "the answer for ", "I choose ", "boxed{", "answer is A. ", "A ", "\n", "(",
])  # fmt: skip
def test_a_long_reply_takes_linear_time(piece):
    start = time.perf_counter()
    for end in ("", "?"):
        assert chosen(piece * (100_000 // len(piece)) + end, FRUIT) in ("", "A")
        assert chosen(f"The answer is{piece * (100_000 // len(piece))}{end}", FRUIT) in ("", "A")
    assert time.perf_counter() - start < SECONDS
