import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.search.gaussian_process import GaussianProcess, noise_of


def surface(x):
    return 0.5 - 0.4 * ((x - 0.6) ** 2).sum(axis=1)


def fitted(count, noise, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.random((count, 2))
    y = surface(x) + generator.normal(0, noise, count)
    return x, y, GaussianProcess(x, y, np.full(count, max(noise, 1e-4) ** 2))


def test_it_is_the_posterior_of_the_textbook():
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, with the inverse written out."""
    x, y, process = fitted(12, 0.05)
    new = np.random.default_rng(1).random((5, 2))

    def kernel(a, b):
        return process.amplitude**2 * np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1) / process.length**2)

    inverse = np.linalg.inv(kernel(x, x) + 0.05**2 * np.eye(12))
    mean = inverse.sum(axis=0) @ y / inverse.sum()
    expected = mean + kernel(new, x) @ inverse @ (y - mean)
    variance = process.amplitude**2 - np.einsum("ij,jk,ik->i", kernel(new, x), inverse, kernel(new, x))
    found, spread = process.predict(new)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(spread**2, variance, atol=1e-7)


def test_without_noise_it_goes_through_the_observations():
    x, y, process = fitted(15, 0.0)
    np.testing.assert_allclose(process.predict(x)[0], y, atol=2e-3)


def test_it_pools_what_neighbours_say():
    x, y, process = fitted(60, 0.12)
    assert np.abs(process.predict(x)[0] - surface(x)).mean() < 0.5 * np.abs(y - surface(x)).mean()


def test_draws_have_the_posteriors_mean_and_spread():
    _, _, process = fitted(10, 0.1)
    new = np.random.default_rng(2).random((4, 2))
    draws = np.stack([process.sample(new, np.random.default_rng(seed)) for seed in range(3000)])
    mean, spread = process.predict(new)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=5 * spread.max() / np.sqrt(3000))
    np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.08)


@given(st.integers(1, 6), st.floats(0, 1))
def test_equal_observations_predict_themselves(count, value):
    x = np.random.default_rng(count).random((count, 3))
    process = GaussianProcess(x, np.full(count, value), np.full(count, 0.01))
    np.testing.assert_allclose(process.predict(x)[0], value, atol=1e-6)


def test_the_same_point_may_be_observed_twice():
    x = np.array([[0.5, 0.5], [0.5, 0.5]])
    process = GaussianProcess(x, np.array([0.2, 0.4]), np.array([0.01, 0.01]))
    assert process.predict(x[:1])[0] == pytest.approx(0.3)


@given(st.integers(1, 200), st.floats(0, 1))
def test_no_mean_is_taken_for_certain(samples, mean):
    (variance,) = noise_of([mean], samples)
    assert 0 < variance <= 0.25 / samples + 1e-12


def test_observations_that_do_not_fit_together_are_refused():
    x = np.zeros((2, 1))
    with pytest.raises(ValueError, match="expected"):
        GaussianProcess(x, np.zeros(3), np.ones(2))
    with pytest.raises(ValueError, match="above 0"):
        GaussianProcess(x, np.zeros(2), np.zeros(2))
