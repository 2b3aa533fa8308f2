import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.search.operators import SoftmaxAggregation, mean
from tests.toy_experts import SKILLS, assert_close, deltas, dense_experts, factored_experts, linear

scores = st.lists(st.floats(0, 1), min_size=3, max_size=3)


def test_weights_equal_the_values_worked_out_by_hand() -> None:
    # exp(0), exp(ln 2), exp(ln 1): a quarter, a half, a quarter.
    assert SoftmaxAggregation().weights([0.0, math.log(2), 0.0]) == pytest.approx((0.25, 0.5, 0.25))
    assert SoftmaxAggregation(0.5).weights([0.0, math.log(2) / 2, 0.0]) == pytest.approx((0.25, 0.5, 0.25))


@given(scores, st.floats(0.1, 10))
def test_weights_are_the_softmax_of_the_scores(f: list[float], temperature: float) -> None:
    beta = [math.exp(x / temperature) for x in f]
    assert SoftmaxAggregation(temperature).weights(f) == pytest.approx([b / sum(beta) for b in beta])


@given(scores)
def test_a_high_temperature_gives_the_mean_and_a_low_one_the_best(f: list[float]) -> None:
    assert SoftmaxAggregation(1e6).weights(f) == pytest.approx([1 / 3] * 3, abs=1e-5)
    cold = SoftmaxAggregation(1e-6).weights(f)
    assert sum(cold) == pytest.approx(1)
    assert cold[f.index(max(f))] == max(cold)


def test_one_elite_counts_whole() -> None:
    assert SoftmaxAggregation().weights([0.3]) == (1.0,)


def test_the_mean_is_the_plain_average() -> None:
    experts, dense = factored_experts(0), dense_experts(0)
    average = mean([experts[s] for s in SKILLS])
    assert_close(deltas(average), linear(*((1 / 3, dense[s]) for s in SKILLS)))


def test_scores_and_settings_out_of_range_are_refused() -> None:
    for bad in ([], [float("nan")], [1.5], [-0.1]):
        with pytest.raises(ValueError, match=r"scores in \[0, 1\]"):
            SoftmaxAggregation().weights(bad)
    with pytest.raises(ValueError, match="temperature"):
        SoftmaxAggregation(0.0)
    with pytest.raises(ValueError, match="as many coefficients"):
        mean([])
