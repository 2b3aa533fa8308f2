from __future__ import annotations

import math

import pytest

from cycleqd.records import EvaluationRecord, SampleScore, Score
from cycleqd.report.statistics import Difference, average, paired_difference


def evaluation(scores: list[float], *, data_hash: str = "same", first: int = 0) -> EvaluationRecord:
    samples = [
        SampleScore(id=f"s{first + number}", score=score, reason="", turns=1, tokens=1)
        for number, score in enumerate(scores)
    ]
    return EvaluationRecord(
        identity="x", skill="os", split="test", score=Score.of(scores), samples=samples, data_hash=data_hash,
        engine="e", batching="strict", tokens=1, seconds=1.0,
    )  # fmt: skip


def test_the_paired_difference_is_that_of_hand_computation() -> None:
    found = paired_difference(evaluation([1, 1, 0, 1]), evaluation([0, 1, 0, 0]))
    assert found is not None
    # differences 1, 0, 0, 1: mean 1/2, variance 1/4, standard error sqrt(1/4 / 4)
    assert found == pytest.approx((0.5, 0.25, 4))


def test_pairing_follows_the_samples_not_their_order() -> None:
    left, right = evaluation([1, 0, 0]), evaluation([0, 0, 1])
    turned = right.model_copy(update={"samples": right.samples[::-1]})
    assert paired_difference(left, turned) == paired_difference(left, right)


def test_equal_scores_on_the_same_samples_have_no_uncertainty() -> None:
    assert paired_difference(evaluation([1, 0, 1]), evaluation([1, 0, 1])) == (0.0, 0.0, 3)


@pytest.mark.parametrize(
    "other", [evaluation([0, 1], first=1), evaluation([0, 1], data_hash="other"), evaluation([1])]
)
def test_different_samples_are_not_paired(other: EvaluationRecord) -> None:
    assert paired_difference(evaluation([0, 1]), other) is None


def test_the_average_adds_independent_errors() -> None:
    found = average([Difference(0.2, 0.03, 10), Difference(0.4, 0.04, 20)])
    assert found == pytest.approx((0.3, math.hypot(0.03, 0.04) / 2, 30))


def test_an_average_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        average([])


@pytest.mark.parametrize(
    ("difference", "clear"),
    [(Difference(0.21, 0.1, 9), True), (Difference(0.2, 0.1, 9), False), (Difference(-0.3, 0.1, 9), True),
     (Difference(0.0, 0.0, 9), False), (Difference(0.1, 0.0, 9), True)],
)  # fmt: skip
def test_clear_means_beyond_two_standard_errors_either_way(difference: Difference, clear: bool) -> None:
    assert difference.clear is clear
