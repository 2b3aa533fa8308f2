"""No search: one model that exists already meets all blocks of the optimization split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from cycleqd.search.archive import Win
from cycleqd.search.protocol import Recipe, Start


class Rescoring:
    """What a search has to beat: its budget spent on the best merge that needs none.

    Child after child is the same individual, which meets the next block of samples each time; once it has met all of
    them, a further child costs nothing. The answer is that individual. Alone this tells its score on all optimization
    samples. With refinement (`cycleqd.steps.refinement`) it is rejection sampling without a search: the model learns
    from what it solved itself.

    Args:
        start: What it begins with.
        individual: Id of the model, e.g. ``all-data`` (with ``comparison.all_data``). None takes the baseline of the
            highest mean score among those whose scores a search may learn from, or the first expert without any.
    """

    def __init__(self, start: Start, *, individual: str | None = None) -> None:
        self.archives = start.archives
        self._blocks = start.blocks
        if individual is not None:
            self._recipe, self._individual = Recipe((individual,), (1.0,)), individual
        elif start.known:
            best = max(start.known, key=lambda one: math.fsum(one.scores.values()))
            self._recipe, self._individual = best.recipe, best.individual
        else:
            self._recipe, self._individual = Recipe((start.experts[0],), (1.0,)), start.experts[0]

    def ask(self, index: int) -> Recipe:
        """The same individual on the next block; see `Search.ask`."""
        return replace(self._recipe, block=index % self._blocks, again=self._individual)

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Offers it to the archives; see `Search.tell`."""
        return self.archives.insert(individual, scores, index)

    def answer(self) -> Recipe:
        """The individual itself, whatever its scores."""
        return Recipe((self._individual,), (1.0,))
