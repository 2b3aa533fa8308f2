"""Coefficients from a Gaussian policy that REINFORCE moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cycleqd.randomness import rng
from cycleqd.search.coefficients import CoefficientSearch, Combination, Told
from cycleqd.search.protocol import Start

_TINY = 1e-8


class PolicyGradientProposer:
    """c ~ N(m, σ² I), clipped to the range; m moves by REINFORCE with the batch's mean as baseline (Williams 1992).

    Our reading of "learning w/ GD" in the paper's Table 1 ("gradient descent on policy gradients" of the coefficients
    of the linear combination): its code was not published. After each batch of B children
    m ← m + η σ · mean_i(A_i ε_i), with A the batch's standardised fitness and c_i = m + σ ε_i before clipping.

    Args:
        space: What it proposes; m starts in the range's middle.
        seed: The run's seed, at least 0.
        sigma: σ, above 0.
        population: B, at least 2.
        learning_rate: η, above 0.
    """

    def __init__(self, space: Combination, *, seed: int, sigma: float, population: int, learning_rate: float) -> None:
        self._space, self._seed = space, seed
        self._sigma, self._population, self._rate = sigma, population, learning_rate
        self._mean = space.middle
        self._told: list[tuple[float, np.ndarray]] = []

    def ask(self, index: int) -> Sequence[float]:
        """See `Proposer.ask`."""
        drawn: list[float] = self._clipped(self._mean + self._sigma * self._noise(index)).tolist()
        return drawn

    def tell(self, child: Told) -> None:
        """Moves the mean when the batch is full; see `Proposer.tell`."""
        self._told.append((child.fitness, self._noise(child.number)))
        if len(self._told) < self._population:
            return
        fitness = np.array([fitness for fitness, _ in self._told])
        advantage = (fitness - fitness.mean()) / (fitness.std() + _TINY)
        step = np.mean([a * noise for a, (_, noise) in zip(advantage, self._told, strict=True)], axis=0)
        self._mean = self._clipped(self._mean + self._rate * self._sigma * step)
        self._told = []

    def centre(self) -> Sequence[float] | None:
        """The policy's mean."""
        mean: list[float] = self._mean.tolist()
        return mean

    def _clipped(self, coefficients: np.ndarray) -> np.ndarray:
        return self._space.clipped(coefficients)

    def _noise(self, index: int) -> np.ndarray:
        return rng(self._seed, index, "policy").standard_normal(len(self._mean))


class PolicyGradient(CoefficientSearch):
    """A search by REINFORCE; see `PolicyGradientProposer`.

    Args:
        start: What it begins with.
        combination: What is made of coefficients.
        sigma: Standard deviation of the coefficients, above 0.
        population: Children between two updates, at least 2.
        learning_rate: Step in units of `sigma`, above 0.
    """

    def __init__(
        self, start: Start, combination: Combination, *, sigma: float, population: int, learning_rate: float
    ) -> None:
        proposer = PolicyGradientProposer(
            combination, seed=start.seed, sigma=sigma, population=population, learning_rate=learning_rate
        )
        super().__init__(start, combination, proposer)
