"""How two task vectors become a child's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from cycleqd.operators.merging import MergeMethod
from cycleqd.operators.merging.dare import Dare
from cycleqd.task_vector import FactoredTaskVector, TaskVector, project, weighted_sum

MIN_SUM = 1e-3
"""Coefficients whose sum is smaller in absolute value are drawn anew: dividing by it would blow the child up."""

_MAX_DRAWS = 1000


class CrossoverResult(NamedTuple):
    """A child before its mutation.

    Attributes:
        child: Its task vector.
        draws: (ω1, ω2) as drawn.
        coefficients: What the parents were multiplied by, ω / (ω1 + ω2); they sum to 1.
        residual: Share of the child that was lost when it was brought back to its parents' bases; 0 where nothing was.
        seed: Fixes what a merge method that draws has drawn; None where none did.
    """

    child: TaskVector
    draws: tuple[float, float]
    coefficients: tuple[float, float]
    residual: float = 0.0
    seed: int | None = None


class Crossover(Protocol):
    """Mixes two task vectors."""

    def cross(self, first: TaskVector, second: TaskVector, rng: np.random.Generator) -> CrossoverResult:
        """The child of two parents, which may be the same.

        Raises:
            ValueError: The parents don't fit together.
        """
        ...


@dataclass(frozen=True, slots=True)
class LinearCrossover:
    """τ = (ω1 τ_p + ω2 τ_q) / (ω1 + ω2), one pair of coefficients per child (CycleQD).

    ω ~ N(μ, σ²), independent; drawn anew while |ω1 + ω2| < `MIN_SUM`. https://arxiv.org/abs/2410.14735

    Attributes:
        mu: Mean of a coefficient.
        sigma: Its standard deviation, at least 0.
    """

    mu: float = 1.0
    sigma: float = 0.03

    def __post_init__(self) -> None:
        if not math.isfinite(self.mu) or not 0 <= self.sigma < math.inf:
            raise ValueError(f"expected a finite mu and sigma >= 0, got {self.mu} and {self.sigma}")
        if self.sigma == 0 and abs(2 * self.mu) < MIN_SUM:
            raise ValueError(f"mu {self.mu} with sigma 0 gives coefficients that sum to zero; raise either")

    def cross(self, first: TaskVector, second: TaskVector, rng: np.random.Generator) -> CrossoverResult:
        """The child of two parents; see `Crossover.cross`.

        Raises:
            ValueError: The parents don't fit together, or μ and σ are so small that no draw can be divided by.
        """
        draws, coefficients = self.draw(rng)
        return CrossoverResult(weighted_sum(coefficients, [first, second]), draws, coefficients)

    def draw(self, rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
        """(ω1, ω2) and what they are divided by their sum.

        Raises:
            ValueError: μ and σ are so small that no draw can be divided by.
        """
        for _ in range(_MAX_DRAWS):
            one, two = (float(omega) for omega in rng.normal(self.mu, self.sigma, size=2))
            total = one + two
            if abs(total) >= MIN_SUM:
                return (one, two), (one / total, two / total)
        raise ValueError(
            f"mu {self.mu} and sigma {self.sigma} give coefficients that sum to almost zero; raise either"
        )


@dataclass(frozen=True, slots=True)
class MergeCrossover:
    """Merges the parents by any method of `cycleqd.operators.merging`, the paper's random coefficients as weights.

    A method that acts on entries leaves the bases of factored parents. Its child is brought back to them, so that the
    next generation can be merged on cores; the result says what that lost.

    Attributes:
        method: Merges the two.
        coefficients: Draws the weights.
    """

    method: MergeMethod
    coefficients: LinearCrossover = LinearCrossover()

    def cross(self, first: TaskVector, second: TaskVector, rng: np.random.Generator) -> CrossoverResult:
        """The child of two parents; see `Crossover.cross`.

        Raises:
            ValueError: As there, or a weight is one that the method can't take.
        """
        draws, weights = self.coefficients.draw(rng)
        method, seed = self.method, None
        if isinstance(method, Dare):
            seed = int(rng.integers(2**53))  # 53 bits: JSON readers that know only doubles keep it exact
            method = replace(method, seed=seed)
        child, residual = method.merge([first, second], weights), 0.0
        if isinstance(first, FactoredTaskVector) and not isinstance(child, FactoredTaskVector):
            child, residual = project(child, first.bases)
        return CrossoverResult(child, draws, weights, residual, seed)
