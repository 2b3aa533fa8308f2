import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.experts.data import EvaluationNgrams, evaluation_texts
from cycleqd.experts.data.decontamination import SHORTEST, words
from cycleqd.skills.building import build_skill

QUESTION = "Count how many rows of the table flights have a delay of more than ten minutes"
TEXTS = st.lists(st.sampled_from("abcdefgh"), min_size=SHORTEST, max_size=30).map(" ".join)


def test_copy_is_found_whatever_its_layout_and_punctuation():
    found = EvaluationNgrams([[QUESTION]], 8)
    assert found.find(f"Please: {QUESTION.upper()}!") == " ".join(words(QUESTION)[:8])
    assert found.find("\n".join(word + ";" for word in QUESTION.split()))


def test_so_many_words_must_agree_and_no_fewer():
    shared = words(QUESTION)[3:10]
    text = "now " + " ".join(shared) + " again"
    assert EvaluationNgrams([[QUESTION]], 7).find(text) == " ".join(shared)
    assert EvaluationNgrams([[QUESTION]], 8).find(text) is None


def test_short_texts_count_whole_unless_they_are_too_short():
    found = EvaluationNgrams([["select the name of it"], ["return True"]], 10)
    assert found.find("then select the name of it, please") == "select the name of it"
    assert found.find("return true and nothing else at all, return true") is None


def test_short_solution_is_no_contamination():
    found = EvaluationNgrams([[QUESTION, "Action: Answer. Final answer: 7"]], 10)
    assert found.find("I know it. Action: Answer. Final answer: 7") is None


def test_phrases_of_the_whole_suite_are_no_contamination():
    samples = [[f"Answer the question with one word and stop then: a{n} b{n} c{n} d{n} e{n}"] for n in range(50)]
    found = EvaluationNgrams(samples, 8)
    assert found.find("Answer the question with one word and stop then: what else?") is None
    assert found.find(samples[7][0])


def test_short_question_is_found_without_the_phrases_that_a_suite_puts_around_it():
    before = "That one is solved now, so here is the next problem on another machine:"
    after = "Reply with one word, or with one number, and then stop at once."
    questions = [f"is{n} file{n} of{n} folder{n} larger{n}" for n in range(40)]
    found = EvaluationNgrams([[f"{before} {question}? {after}"] for question in questions], 10)
    assert found.find(f"Here is another one. {questions[7]}!") == questions[7]
    assert found.find(f"{before} What is this? {after}") is None


def test_both_splits_that_score_are_kept_out_and_the_train_split_is_not():
    skill = build_skill("db", seed=0, counts={"train": 4, "optimization": 3, "test": 2})
    texts = list(evaluation_texts([skill]))
    assert len(texts) == 5
    found = EvaluationNgrams(texts, 10)
    for split in ("optimization", "test"):
        for sample in skill.samples(split):
            assert found.find(skill.initial_messages(sample)[-1]["content"])


def test_n_below_the_shortest_is_refused():
    with pytest.raises(ValueError, match="at least 5"):
        EvaluationNgrams([], 4)


@given(st.lists(TEXTS, max_size=3), TEXTS, st.text(), st.text(), st.integers(SHORTEST, 12))
def test_a_text_that_holds_an_evaluation_text_is_always_found(others, text, before, after, n):
    # Three samples are too few to share a phrase that counts as the suite's own.
    samples = [[text], *([other] for other in others[:1])]
    assert EvaluationNgrams(samples, n).find(f"{before} {text} {after}")


@given(st.lists(TEXTS, max_size=2), TEXTS, st.integers(SHORTEST, 12))
def test_what_is_found_stands_in_both(samples, text, n):
    found = EvaluationNgrams([[sample] for sample in samples], n).find(text)
    if found is not None:
        assert found in " ".join(words(text))
        assert any(found in " ".join(words(sample)) for sample in samples)
        assert SHORTEST <= len(found.split()) <= n


@given(st.lists(TEXTS, max_size=2), TEXTS, st.integers(SHORTEST, 11))
def test_a_longer_run_is_asked_for_no_more_is_found(samples, text, n):
    whole = [[sample] for sample in samples if len(sample.split()) > n]
    if EvaluationNgrams(whole, n + 1).find(text):
        assert EvaluationNgrams(whole, n).find(text)
