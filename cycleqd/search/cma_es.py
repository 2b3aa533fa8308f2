"""Coefficients from CMA-ES, by the library `cmaes`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cmaes import CMA

from cycleqd.search.coefficients import CoefficientSearch, Combination, Told
from cycleqd.search.protocol import Start


class CmaEsProposer:
    """Covariance matrix adaptation (Hansen 2016, https://arxiv.org/abs/1604.00772) on the mean score.

    The answer is the distribution's mean and not the best child: with few samples the best is the luckiest, and the
    mean has averaged over many (Hansen et al. 2009 on noisy functions).

    Args:
        space: What it proposes; the mean starts in the range's middle. The library wants at least two coefficients,
            so that a lone one gets an idle companion.
        seed: The run's seed, at least 0.
        sigma: Initial standard deviation, above 0.
        population: Children between two updates, at least 2.
    """

    def __init__(self, space: Combination, *, seed: int, sigma: float, population: int) -> None:
        self._count = space.coefficients
        start = np.resize(space.middle, max(self._count, 2))
        self._cma = CMA(
            mean=start,
            sigma=sigma,
            bounds=np.array([[space.low, space.high]] * len(start)),
            seed=seed % 2**32,
            population_size=population,
        )
        self._asked: dict[int, np.ndarray] = {}
        self._told: list[tuple[np.ndarray, float]] = []

    def ask(self, index: int) -> Sequence[float]:
        """See `Proposer.ask`."""
        self._asked[index] = self._cma.ask()
        drawn: list[float] = self._asked[index][: self._count].tolist()
        return drawn

    def tell(self, child: Told) -> None:
        """Updates the distribution when the population is full; see `Proposer.tell`."""
        self._told.append((self._asked.pop(child.number), -child.fitness))  # the library minimises
        if len(self._told) == self._cma.population_size:
            self._cma.tell(self._told)
            self._told = []

    def centre(self) -> Sequence[float] | None:
        """The distribution's mean."""
        mean: list[float] = self._cma.mean[: self._count].tolist()
        return mean


class CmaEs(CoefficientSearch):
    """A search by CMA-ES; see `CmaEsProposer`.

    Args:
        start: What it begins with.
        combination: What is made of coefficients.
        sigma: Initial standard deviation, above 0.
        population: Children between two updates, at least 2.
    """

    def __init__(self, start: Start, combination: Combination, *, sigma: float, population: int) -> None:
        proposer = CmaEsProposer(combination, seed=start.seed, sigma=sigma, population=population)
        super().__init__(start, combination, proposer)
