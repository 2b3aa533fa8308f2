"""Which two individuals of an archive become parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Sampler(Protocol):
    """Draws parents from the scores of an archive's individuals."""

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The probability of each individual to be drawn first.

        Args:
            scores: Shape (n, K), n ≥ 1 individuals and their K ≥ 1 scores in [0, 1].

        Returns:
            Shape (n,), fp64, all above 0, sum 1.

        Raises:
            ValueError: The shape is another, or scores are not finite.
        """
        ...

    def sample(self, scores: ArrayLike, rng: np.random.Generator) -> tuple[int, int]:
        """Two distinct rows of `scores`; the same row twice where there is but one.

        Raises:
            ValueError: As `probabilities`.
        """
        ...


@dataclass(frozen=True, slots=True)
class EliteSampling:
    """Prefers individuals that are good in all skills (CycleQD, https://arxiv.org/abs/2410.14735).

    P_j ∝ ∏_i ( α_low + (f_ji − min_j f_ji) / (max_j f_ji − min_j f_ji) · (α_high − α_low) ), over all skills i,
    minimum and maximum over the archive. A skill in which all score the same contributes a constant.

    Attributes:
        alpha_low: Weight of the worst score, above 0.
        alpha_high: Weight of the best score, at least `alpha_low`.
    """

    alpha_low: float = 0.5
    alpha_high: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.alpha_low <= self.alpha_high < np.inf:
            raise ValueError(f"expected 0 < alpha_low <= alpha_high, got {self.alpha_low} and {self.alpha_high}")

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The probability of each individual to be drawn first; see `Sampler.probabilities`."""
        f = _checked(scores)
        low, high = f.min(axis=0), f.max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        gamma = (self.alpha_low + (f - low) / span * (self.alpha_high - self.alpha_low)).prod(axis=1)
        return np.asarray(gamma / gamma.sum(), dtype=np.float64)

    def sample(self, scores: ArrayLike, rng: np.random.Generator) -> tuple[int, int]:
        """Two distinct rows, one after the other; see `Sampler.sample`."""
        return _two(self.probabilities(scores), rng)


@dataclass(frozen=True, slots=True)
class RandomSampling:
    """Draws any two individuals with equal probability: the ablation of elite sampling."""

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float64]:
        """1/n each; see `Sampler.probabilities`."""
        n = len(_checked(scores))
        return np.full(n, 1.0 / n)

    def sample(self, scores: ArrayLike, rng: np.random.Generator) -> tuple[int, int]:
        """Two distinct rows, one after the other; see `Sampler.sample`."""
        return _two(self.probabilities(scores), rng)


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    f = np.asarray(scores, dtype=np.float64)
    if f.ndim != 2 or 0 in f.shape:
        raise ValueError(f"expected scores of shape (individuals, skills), both at least 1, got {f.shape}")
    if not np.isfinite(f).all():
        raise ValueError("scores must be finite")
    return f


def _two(probabilities: NDArray[np.float64], rng: np.random.Generator) -> tuple[int, int]:
    """Draws without replacement: the second from what the first left."""
    n = len(probabilities)
    if n == 1:
        return 0, 0
    first = int(rng.choice(n, p=probabilities))
    others = np.delete(np.arange(n), first)
    rest = probabilities[others]
    return first, int(rng.choice(others, p=rest / rest.sum()))
