"""Coefficients drawn evenly: what every search has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.randomness import rng
from cycleqd.search.coefficients import Space, Told


@dataclass(frozen=True, slots=True)
class RandomProposer:
    """c_k ~ U[low, high), independent.

    Attributes:
        space: What it proposes.
    """

    space: Space

    def ask(self, index: int) -> Sequence[float]:
        """See `Proposer.ask`."""
        seed, count, _, low, high = self.space
        drawn: list[float] = rng(seed, index, "random search").uniform(low, high, count).tolist()
        return drawn

    def tell(self, child: Told) -> None:
        """Learns nothing."""

    def centre(self) -> Sequence[float] | None:
        """There is none."""
        return None
