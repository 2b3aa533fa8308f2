import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.search.operators import AGGREGATIONS, SoftmaxAggregation, mean
from tests.toy_experts import SKILLS, assert_close, deltas, dense_experts, factored_experts, linear

scores = st.lists(st.floats(0, 1), min_size=3, max_size=3)


def test_weights_equal_the_values_worked_out_by_hand() -> None:
    # exp(0), exp(ln 2), exp(ln 1): a quarter, a half, a quarter.
    assert SoftmaxAggregation().weights([0.0, math.log(2), 0.0]) == pytest.approx((0.25, 0.5, 0.25))
    assert SoftmaxAggregation(0.5).weights([0.0, math.log(2) / 2, 0.0]) == pytest.approx((0.25, 0.5, 0.25))


@settings(max_examples=20)
@given(scores, st.floats(0.1, 10))
def test_the_aggregate_equals_dense_arithmetic(f: list[float], temperature: float) -> None:
    experts, dense = factored_experts(0), dense_experts(0)
    result = AGGREGATIONS["softmax"](temperature=temperature).aggregate([experts[s] for s in SKILLS], f)
    beta = [math.exp(x / temperature) for x in f]
    beta = [b / sum(beta) for b in beta]
    assert result.weights == pytest.approx(beta)
    expected = linear(*((b, dense[s]) for b, s in zip(beta, SKILLS, strict=True)))
    assert_close(deltas(result.task_vector), expected)


@given(scores)
def test_a_high_temperature_gives_the_mean_and_a_low_one_the_best(f: list[float]) -> None:
    assert SoftmaxAggregation(1e6).weights(f) == pytest.approx([1 / 3] * 3, abs=1e-5)
    cold = SoftmaxAggregation(1e-6).weights(f)
    assert sum(cold) == pytest.approx(1)
    assert cold[f.index(max(f))] == max(cold)


def test_one_elite_is_the_aggregate() -> None:
    expert = factored_experts(0)["os"]
    assert SoftmaxAggregation().aggregate([expert], [0.3]).task_vector.hash() == expert.hash()


def test_the_mean_is_the_plain_average() -> None:
    experts, dense = factored_experts(0), dense_experts(0)
    average = mean([experts[s] for s in SKILLS])
    assert_close(deltas(average), linear(*((1 / 3, dense[s]) for s in SKILLS)))


def test_scores_and_settings_out_of_range_are_refused() -> None:
    expert = factored_experts(0)["os"]
    for bad in ([], [float("nan")], [1.5], [-0.1]):
        with pytest.raises(ValueError, match=r"scores in \[0, 1\]"):
            SoftmaxAggregation().weights(bad)
    with pytest.raises(ValueError, match="temperature"):
        SoftmaxAggregation(0.0)
    with pytest.raises(ValueError, match="as many coefficients"):
        SoftmaxAggregation().aggregate([expert], [0.3, 0.4])
    with pytest.raises(ValueError, match="as many coefficients"):
        mean([])
