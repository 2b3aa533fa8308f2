"""Coefficients drawn evenly: what every search has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.randomness import rng
from cycleqd.search.coefficients import CoefficientSearch, Combination, Told
from cycleqd.search.protocol import Start


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


class RandomSearch(CoefficientSearch):
    """A search whose coefficients are drawn evenly.

    Args:
        start: What it begins with.
        combination: What is made of coefficients.
    """

    def __init__(self, start: Start, combination: Combination) -> None:
        super().__init__(start, combination, RandomProposer(combination, seed=start.seed))
