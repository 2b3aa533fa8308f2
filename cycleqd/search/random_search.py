"""Coefficients drawn evenly: what every search has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.randomness import rng
from cycleqd.search.coefficients import Combination, Told


@dataclass(frozen=True, slots=True)
class RandomProposer:
    """c_k ~ U[low, high), independent.

    Attributes:
        space: What it proposes.
        seed: The run's seed, at least 0.
    """

    space: Combination
    seed: int

    def ask(self, index: int) -> Sequence[float]:
        """See `Proposer.ask`."""
        space = self.space
        generator = rng(self.seed, index, "random search")
        drawn: list[float] = generator.uniform(space.low, space.high, space.coefficients).tolist()
        return drawn

    def tell(self, child: Told) -> None:
        """Learns nothing."""

    def centre(self) -> Sequence[float] | None:
        """There is none."""
        return None
