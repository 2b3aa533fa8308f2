import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.bootstrap import bootstrap_over_seeds, paired_bootstrap
from cycleqd.statistics import Interval, interval_of_mean, wilson


def bernoulli(n, p, seed=0):
    return np.random.default_rng(seed).binomial(1, p, n).astype(float)


@pytest.mark.parametrize(
    ("solved", "n", "low", "high"),
    # Wilson intervals of Newcombe 1998 (Statistics in Medicine 17, table I): 81/263, 15/148, 0/20, 1/29.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_the_literature(solved, n, low, high):
    assert wilson(solved / n, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 2000), mean=st.floats(0, 1))
def test_every_interval_holds_its_mean_and_has_a_width(n, mean):
    low, high = wilson(mean, n)
    assert 0 <= low <= mean <= high <= 1
    assert high - low > 1 / (n + 4)
    mirrored = wilson(1 - mean, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-9)


def test_no_success_and_nothing_but_successes_leave_room():
    assert wilson(0.0, 16) == pytest.approx((0.0, 0.1936), abs=1e-4)
    assert wilson(1.0, 16) == pytest.approx((0.8064, 1.0), abs=1e-4)
    assert wilson(0.0, 16).low == 0.0
    assert wilson(1.0, 16).high == 1.0


@pytest.mark.parametrize("p", [0.0, 0.02, 0.3, 0.5, 0.95])
def test_wilson_intervals_hold_the_truth_as_often_as_they_say(p):
    n, held = 42, 0
    solved = np.random.default_rng(1).binomial(n, p, 2000)
    for count in solved:
        low, high = wilson(count / n, n)
        held += low <= p <= high
    assert held / 2000 > 0.92


def test_fractional_scores_get_an_interval_that_is_wide_enough():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(500):
        scores = rng.beta(2, 3, 30)  # mean 0.4
        low, high = wilson(float(scores.mean()), 30)
        held += low <= 0.4 <= high
    assert held / 500 > 0.95


def test_the_mean_of_one_score_has_that_scores_interval():
    assert interval_of_mean([(0.3, 40)]) == pytest.approx(wilson(0.3, 40))


def test_the_mean_of_many_scores_is_surer_than_each_but_never_certain():
    scores = [(0.0, 16), (0.0, 16), (0.0, 16)]
    low, high = interval_of_mean(scores)
    assert low == 0.0
    assert 0.05 < high < wilson(0.0, 16).high
    assert interval_of_mean([(0.5, 100)] * 4) == pytest.approx((0.452, 0.548), abs=1e-3)


@pytest.mark.parametrize(("mean", "n"), [(-0.1, 5), (1.1, 5), (0.5, 0), (math.nan, 3)])
def test_what_is_no_score_is_refused(mean, n):
    with pytest.raises(ValueError, match="at least one"):
        wilson(mean, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_what_is_no_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        wilson(0.5, 5, confidence)


def test_the_bootstrap_agrees_with_the_normal_interval_where_that_is_right():
    differences = bernoulli(400, 0.6) - bernoulli(400, 0.4, 1)
    low, high = paired_bootstrap([differences])
    half = 1.96 * differences.std() / 20
    assert low == pytest.approx(differences.mean() - half, abs=0.01)
    assert high == pytest.approx(differences.mean() + half, abs=0.01)


def test_skills_count_alike_however_many_samples_they_have():
    few, many = bernoulli(20, 0.5), bernoulli(2000, 0.1)
    low, high = paired_bootstrap([few, many])
    assert (low + high) / 2 == pytest.approx((few.mean() + many.mean()) / 2, abs=0.02)
    half = 1.96 * math.hypot(few.std() / math.sqrt(20), many.std() / math.sqrt(2000)) / 2
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_the_same_differences_have_the_same_interval_and_another_seed_almost_the_same():
    differences = [bernoulli(40, 0.5) - bernoulli(40, 0.3, 1)]
    assert paired_bootstrap(differences) == paired_bootstrap(differences)
    assert paired_bootstrap(differences, seed=1) == pytest.approx(paired_bootstrap(differences), abs=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.25])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_samples_that_all_differ_alike_still_leave_room(value, n):
    low, high = paired_bootstrap([[value] * n])
    assert low <= value <= high
    assert high - low > 0.5 / n


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        first, second = rng.binomial(1, 0.5, (3, 42)), rng.binomial(1, 0.4, (3, 42))
        low, high = paired_bootstrap(list((first - second).astype(float)), resamples=800)
        held += low <= 0.1 <= high
    assert held / 300 > 0.9


def test_seeds_that_disagree_widen_the_interval():
    alike = [[bernoulli(100, 0.5, seed) - 0.4] for seed in range(5)]
    apart = [[bernoulli(100, 0.5, seed) - 0.4 + shift] for seed, shift in enumerate((-0.2, -0.1, 0.0, 0.1, 0.2))]
    narrow, wide = bootstrap_over_seeds(alike), bootstrap_over_seeds(apart)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert isinstance(narrow, Interval)


def test_one_seed_is_the_bootstrap_over_its_samples():
    skills = [bernoulli(40, 0.5), bernoulli(30, 0.2)]
    assert bootstrap_over_seeds([skills]) == pytest.approx(paired_bootstrap(skills))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_seed_that_is_drawn_twice_has_two_draws_of_its_samples(count):
    # Seeds of one mean: the draw of seeds changes nothing, so the normal interval over all samples is right.
    seeds = [[values - values.mean()] for values in (bernoulli(100, 0.5, seed) for seed in range(count))]
    low, high = bootstrap_over_seeds(seeds)
    assert (high - low) / 2 == pytest.approx(
        1.96 * np.concatenate(seeds, axis=1).std() / math.sqrt(100 * count), rel=0.06
    )


@given(count=st.integers(1, 4), values=st.lists(st.integers(-1, 1).map(float), min_size=1, max_size=12))
def test_a_seed_that_repeats_another_on_the_same_samples_makes_nothing_surer(count, values):
    skills = [values, [0.0, 1.0, 1.0]]
    repeated = bootstrap_over_seeds([skills] * count, [["a", "b"]] * count, resamples=200)
    assert repeated == pytest.approx(paired_bootstrap(skills, resamples=200))


@pytest.mark.parametrize("count", [3, 10])
def test_seeds_that_share_samples_hold_the_truth_about_as_often_as_they_say(count):
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(150):
        # Each sample has its own true difference, the same for every seed; the mean of all such is 0.
        differences = rng.choice([-0.6, 0.6], 60)
        seeds = [[np.where(rng.random(60) < 0.6, np.sign(differences), 0.0)] for _ in range(count)]
        low, high = bootstrap_over_seeds(seeds, [["the same"]] * count, resamples=300)
        held += low <= 0 <= high
    assert 0.9 < held / 150 < 0.99


def test_only_skills_whose_samples_all_seeds_share_have_one_draw_of_them():
    count, n = 5, 100
    seeds = [[bernoulli(n, 0.5), bernoulli(n, 0.5, 1 + seed)] for seed in range(count)]
    seeds = [[values - values.mean() for values in skills] for skills in seeds]
    low, high = bootstrap_over_seeds(seeds, [["shared", f"own {seed}"] for seed in range(count)])
    half = 1.96 * math.hypot(0.5 / math.sqrt(n), 0.5 / math.sqrt(n * count)) / 2
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)


def test_samples_that_all_seeds_share_and_that_never_differ_leave_room():
    low, high = bootstrap_over_seeds([[[0.0] * 20]] * 3, [["shared"]] * 3)
    assert low < 0 < high


@pytest.mark.parametrize(
    ("seeds", "samples", "said"),
    [
        ([[[0.1]], [[0.1], [0.2]]], None, "the same skills"),
        ([[[0.1]], [[0.1]]], [["a"]], "the same skills"),
        ([[[0.1]], [[0.1]]], [["a"], ["a", "b"]], "the same skills"),
        ([[[0.1]], [[0.1, 0.2]]], [["a"], ["a"]], r"equally many, got \[1, 2\]"),
    ],
)
def test_seeds_that_cannot_be_compared_are_refused(seeds, samples, said):
    with pytest.raises(ValueError, match=said):
        bootstrap_over_seeds(seeds, samples)


@pytest.mark.parametrize("seeds", [[], [[]], [[[]]], [[[0.1]], [[]]]])
def test_a_bootstrap_of_nothing_is_refused(seeds):
    with pytest.raises(ValueError, match="at least one of each"):
        bootstrap_over_seeds(seeds)
