from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.randomness import rng
from cycleqd.seams import SAMPLERS
from cycleqd.search.operators import EliteSampling, RandomSampling

SCORES = [[0.0, 0.2], [0.5, 0.2], [1.0, 0.4]]
score_tables = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.lists(st.floats(0, 1), min_size=k, max_size=k), min_size=1, max_size=12)
)


def test_elite_probabilities_equal_the_values_worked_out_by_hand() -> None:
    # First skill: 0.5, 0.65, 0.8. Second: 0.5, 0.5, 0.8. Products 0.25, 0.325, 0.64, their sum 1.215.
    expected = np.array([0.25, 0.325, 0.64]) / 1.215
    np.testing.assert_allclose(EliteSampling(0.5, 0.8).probabilities(SCORES), expected, rtol=1e-12)


def test_a_skill_in_which_all_score_the_same_contributes_a_constant() -> None:
    with_constant = [[f, 0.3] for f in (0.0, 0.5, 1.0)]
    without = [[f] for f in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(
        EliteSampling().probabilities(with_constant), EliteSampling().probabilities(without), rtol=1e-12
    )


@given(score_tables)
def test_probabilities_are_positive_sum_to_one_and_follow_dominance(scores: list[list[float]]) -> None:
    for name in SAMPLERS:
        p = SAMPLERS.make(name).probabilities(scores)
        assert p.shape == (len(scores),)
        assert (p > 0).all()
        assert p.sum() == pytest.approx(1)
    p = EliteSampling().probabilities(scores)
    for i, one in enumerate(scores):
        for j, two in enumerate(scores):
            if all(a >= b for a, b in zip(one, two, strict=True)):
                assert p[i] >= p[j] * (1 - 1e-12)


@given(score_tables, st.integers(0, 100))
def test_parents_are_distinct_except_in_a_singleton(scores: list[list[float]], seed: int) -> None:
    for name in SAMPLERS:
        first, second = SAMPLERS.make(name).sample(scores, rng(seed, 0, "sampling"))
        assert 0 <= first < len(scores)
        assert 0 <= second < len(scores)
        assert (first != second) == (len(scores) > 1)


@pytest.mark.parametrize("sampler", [EliteSampling(0.1, 1.0), RandomSampling()])
def test_pairs_come_up_as_often_as_their_probabilities_say(sampler: EliteSampling | RandomSampling) -> None:
    generator, draws = rng(0, 0, "frequency"), 20_000
    counts = Counter(sampler.sample(SCORES, generator) for _ in range(draws))
    p = sampler.probabilities(SCORES)
    for i in range(3):
        for j in range(3):
            expected = 0.0 if i == j else p[i] * p[j] / (1 - p[i])
            deviation = (expected * (1 - expected) / draws) ** 0.5
            assert counts[i, j] / draws == pytest.approx(expected, abs=4 * deviation)


def test_the_same_generator_gives_the_same_parents() -> None:
    for name in SAMPLERS:
        assert SAMPLERS.make(name).sample(SCORES, rng(1, 2, "x")) == SAMPLERS.make(name).sample(SCORES, rng(1, 2, "x"))


def test_settings_and_scores_out_of_range_are_refused() -> None:
    for low, high in ((0.0, 0.8), (0.9, 0.8), (0.5, float("nan"))):
        with pytest.raises(ValueError, match="alpha_low"):
            EliteSampling(low, high)
    with pytest.raises(ValueError, match="shape"):
        EliteSampling().probabilities([])
    with pytest.raises(ValueError, match="shape"):
        RandomSampling().probabilities([0.5, 0.5])
    with pytest.raises(ValueError, match="finite"):
        EliteSampling().probabilities([[float("nan")]])
