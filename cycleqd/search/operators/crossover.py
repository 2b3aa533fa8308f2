"""How two parents' task vectors are mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from cycleqd.seams import MERGE_METHODS
from cycleqd.seams.table import Setting
from cycleqd.search.operators.merging import merge_method

MIN_SUM = 1e-3
"""Coefficients whose sum is smaller in absolute value are drawn anew: dividing by it would blow the child up."""

_MAX_DRAWS = 1000


class CrossoverDraw(NamedTuple):
    """What is drawn for one child.

    Attributes:
        draws: (ω1, ω2) as drawn.
        coefficients: What the parents are multiplied by, ω / (ω1 + ω2); they sum to 1.
        merge: ``method`` and settings of the merge method that takes the coefficients as its weights; empty for the
            weighted sum.
    """

    draws: tuple[float, float]
    coefficients: tuple[float, float]
    merge: Mapping[str, float | int | str] = MappingProxyType({})


class Crossover(Protocol):
    """Draws how two task vectors are mixed; `cycleqd.search.recipes` mixes them."""

    def draw(self, rng: np.random.Generator) -> CrossoverDraw:
        """The coefficients of one child."""
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

    def draw(self, rng: np.random.Generator) -> CrossoverDraw:
        """The coefficients of one child; see `Crossover.draw`.

        Raises:
            ValueError: μ and σ are so small that no draw can be divided by.
        """
        for _ in range(_MAX_DRAWS):
            one, two = (float(omega) for omega in rng.normal(self.mu, self.sigma, size=2))
            total = one + two
            if abs(total) >= MIN_SUM:
                return CrossoverDraw((one, two), (one / total, two / total))
        raise ValueError(
            f"mu {self.mu} and sigma {self.sigma} give coefficients that sum to almost zero; raise either"
        )


@dataclass(frozen=True, slots=True)
class MergeCrossover:
    """Merges the parents by any method of `operators.merging`, the paper's random coefficients as weights.

    Attributes:
        method: The method's name.
        settings: Its settings.
        coefficients: Draws the weights.
    """

    method: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    coefficients: LinearCrossover = LinearCrossover()

    def __post_init__(self) -> None:
        merge_method(self.method, **self.settings)

    def draw(self, rng: np.random.Generator) -> CrossoverDraw:
        """The coefficients of one child, and a seed where the method draws; see `Crossover.draw`.

        Raises:
            ValueError: As for `LinearCrossover`.
        """
        drawn = self.coefficients.draw(rng)
        merge: dict[str, float | int | str] = {"method": self.method, **self.settings}
        if "seed" in MERGE_METHODS.settings(self.method):
            merge["seed"] = int(rng.integers(2**53))  # 53 bits: JSON readers that know only doubles keep it exact
        return drawn._replace(merge=merge)
