"""Gaussian process regression with known noise, as small as a search needs it (Rasmussen and Williams 2006, ch. 2, 5).

Observations are means of few samples, each with a variance that follows from their number. The process pools what
neighbours say: that is what makes a search over merge coefficients stand a noise of ten points a score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Of fp64."""

LENGTHS = (0.15, 0.25, 0.4, 0.65, 1.0, 1.6)
"""Length scales that are tried, in units of the inputs."""
AMPLITUDES = (0.03, 0.06, 0.12, 0.25)
"""Standard deviations of the process that are tried, in units of the outputs."""
_JITTER = 1e-10
_SAMPLING_JITTER = 1e-6


class GaussianProcess:
    """The posterior given observations y = f(x) + ε, f with a squared-exponential kernel around a constant mean.

    The length scale and the amplitude are those of `LENGTHS` and `AMPLITUDES` that make the observations most likely.
    The mean is the generalised least squares estimate.

    Args:
        x: Inputs, shape (n, d), n at least 1.
        y: Observations, shape (n,).
        variance: Of each observation's noise, shape (n,), above 0.

    Raises:
        ValueError: The shapes don't fit together, or a variance is not above 0.
    """

    def __init__(self, x: Array, y: Array, variance: Array) -> None:
        if x.ndim != 2 or len(x) == 0 or y.shape != (len(x),) or variance.shape != (len(x),):
            raise ValueError(f"expected (n, d), (n,) and (n,), got {x.shape}, {y.shape} and {variance.shape}")
        if not (variance > 0).all():
            raise ValueError("every observation needs a variance above 0")
        self._x = x
        distances = _squared_distances(x, x)
        fits = [
            (self._fit(distances, y, variance, length, amplitude), length, amplitude)
            for length in LENGTHS
            for amplitude in AMPLITUDES
        ]
        (self.log_likelihood, self._factor, self._weights, self.mean), self.length, self.amplitude = max(
            fits, key=lambda fit: fit[0][0]
        )

    @staticmethod
    def _fit(
        distances: Array, y: Array, variance: Array, length: float, amplitude: float
    ) -> tuple[float, Array, Array, float]:
        covariance = amplitude**2 * np.exp(-0.5 * distances / length**2) + np.diag(variance)
        factor = np.linalg.cholesky(covariance + _JITTER * np.eye(len(y)))
        ones = np.ones(len(y))
        solved = _solve(factor, np.stack([y, ones], axis=1))
        mean = float(ones @ solved[:, 0] / (ones @ solved[:, 1]))
        weights = solved[:, 0] - mean * solved[:, 1]
        likelihood = -0.5 * float((y - mean) @ weights) - float(np.log(np.diag(factor)).sum())
        return likelihood - 0.5 * len(y) * math.log(2 * math.pi), factor, weights, mean

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of f at inputs of shape (m, d), each of shape (m,)."""
        cross = self.amplitude**2 * np.exp(-0.5 * _squared_distances(x, self._x) / self.length**2)
        reduced = np.linalg.solve(self._factor, cross.T)
        spread = np.maximum(self.amplitude**2 - (reduced**2).sum(axis=0), 0.0)
        return self.mean + cross @ self._weights, np.sqrt(spread)

    def sample(self, x: Array, generator: np.random.Generator) -> Array:
        """One draw of f at inputs of shape (m, d), jointly; shape (m,)."""
        cross = self.amplitude**2 * np.exp(-0.5 * _squared_distances(x, self._x) / self.length**2)
        reduced = np.linalg.solve(self._factor, cross.T)
        covariance = self.amplitude**2 * np.exp(-0.5 * _squared_distances(x, x) / self.length**2) - reduced.T @ reduced
        # Near points are all but one; what is added keeps the factor real, far below what the scores can tell apart.
        covariance[np.diag_indices_from(covariance)] += _SAMPLING_JITTER * self.amplitude**2
        root = np.linalg.cholesky(covariance)
        drawn: Array = self.mean + cross @ self._weights + root @ generator.standard_normal(len(x))
        return drawn


def noise_of(means: Sequence[float], samples: int) -> Array:
    """The variance of means of `samples` verdicts, shape (n,): p (1 − p) / n.

    Two verdicts, one right and one wrong, are added to p first. So a mean of 0 or 1 is not taken for certain (Agresti
    and Coull 1998).
    """
    drawn = (np.asarray(means, dtype=np.float64) * samples + 1.0) / (samples + 2.0)
    variance: Array = drawn * (1.0 - drawn) / samples
    return variance


def _squared_distances(a: Array, b: Array) -> Array:
    lengths = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    distances: Array = np.maximum(lengths - 2.0 * (a @ b.T), 0.0)
    return distances


def _solve(factor: Array, right: Array) -> Array:
    solved: Array = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
    return solved
