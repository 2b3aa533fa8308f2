from __future__ import annotations

import math

import pytest

from cycleqd.report.statistics import Difference, average, paired_difference
from cycleqd.run.records import EvaluationRecord, SampleScore, Score


def evaluation(scores: list[float], *, data_hash: str = "same", first: int = 0) -> EvaluationRecord:
    samples = [
        SampleScore(id=f"s{first + number}", score=score, reason="", turns=1, tokens=1)
        for number, score in enumerate(scores)
    ]
    return EvaluationRecord(
        genome="x", skill="os", split="test", score=Score.of(scores), samples=samples, data_hash=data_hash,
        engine="e", batching="strict", tokens=1, seconds=1.0,
    )  # fmt: skip


def figures(difference: Difference | None) -> tuple[float, float, int]:
    assert difference is not None
    return difference.difference, difference.se, difference.n


def test_the_paired_difference_is_that_of_hand_computation() -> None:
    # differences 1, 0, 0, 1: mean 1/2, variance 1/4, standard error sqrt(1/4 / 4)
    assert figures(paired_difference(evaluation([1, 1, 0, 1]), evaluation([0, 1, 0, 0]))) == pytest.approx(
        (0.5, 0.25, 4)
    )


def test_pairing_follows_the_samples_not_their_order() -> None:
    left, right = evaluation([1, 0, 0]), evaluation([0, 0, 1])
    turned = right.model_copy(update={"samples": right.samples[::-1]})
    assert paired_difference(left, turned) == paired_difference(left, right)


def test_equal_scores_on_few_samples_leave_room_for_a_difference() -> None:
    found = paired_difference(evaluation([1, 0, 1]), evaluation([1, 0, 1]))
    assert figures(found) == (0.0, 0.0, 3)
    assert found is not None
    assert found.interval.low < -0.3
    assert found.interval.high > 0.3


@pytest.mark.parametrize(
    "other", [evaluation([0, 1], first=1), evaluation([0, 1], data_hash="other"), evaluation([1])]
)
def test_different_samples_are_not_paired(other: EvaluationRecord) -> None:
    assert paired_difference(evaluation([0, 1]), other) is None


def test_the_average_adds_independent_errors() -> None:
    one, two = Difference(((1.0, 0.0, 0.0, 1.0),)), Difference(((0.0, 1.0),))
    assert figures(average([one, two])) == pytest.approx((0.5, math.hypot(one.se, two.se) / 2, 6))


def test_an_average_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        average([])


def test_clear_means_that_the_interval_lies_on_one_side_of_zero() -> None:
    better = Difference(((1.0,) * 9 + (0.0,) * 20,))
    assert better.clear
    assert better.interval.low > 0
    worse = Difference((tuple(-value for value in better.samples[0]),))
    assert worse.clear
    assert worse.interval.high < 0
    either = Difference(((1.0, -1.0, 1.0, 0.0, 0.0),))
    assert not either.clear
    assert either.interval.low < 0 < either.interval.high


@pytest.mark.parametrize("value", [1.0, -1.0, 0.5, 0.0])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_samples_that_all_differ_alike_are_never_clear(value: float, n: int) -> None:
    assert not Difference(((value,) * n,)).clear


def test_one_sample_of_a_skill_is_never_clear_whatever_the_others_say() -> None:
    many = (1.0,) * 30 + (0.0,) * 5
    assert Difference((many, many)).clear
    assert not Difference((many, (1.0,))).clear


def test_a_skill_that_differs_alike_does_not_hide_that_others_differ_clearly() -> None:
    assert Difference(((1.0,) * 30 + (0.0,) * 5, (0.0,) * 30)).clear
