"""Hill climbing over the coefficients of a merge of the experts: an example of a search in a package of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cycleqd.randomness import rng
from cycleqd.search import Recipe, Start
from cycleqd.search.archive import Win
from cycleqd.search.coefficients import Combination


class HillClimbing:
    """Takes a random step from the best child so far, and stays where it is if that was no better.

    Fulfils `cycleqd.search.Search`. All that it knows is what it was told: a run that is resumed asks and tells it
    again and goes on as before.

    Args:
        start: What every search begins with: seed, budget, archives, experts.
        combination: Turns coefficients into a recipe; the configuration's `search.low`, `high` and `merge` are in it.
        step: Standard deviation of a step, above 0. It is a setting of this class alone: a configuration says
            `search.step`, and CycleQD finds it here by its name.
    """

    def __init__(self, start: Start, combination: Combination, *, step: float = 0.1) -> None:
        if not step > 0:
            raise ValueError(f"step must be above 0, got {step}")
        self.archives = start.archives
        self._seed, self._combination, self._step = start.seed, combination, step
        self._asked: dict[int, Recipe] = {}
        self._place, self._score, self._best = combination.middle, -1.0, ""

    def ask(self, index: int) -> Recipe:
        """The range's middle, then a step from the best child; the same when it is asked for again."""
        if index not in self._asked:
            noise = rng(self._seed, index, "hill climbing").standard_normal(self._combination.coefficients)
            place = self._place if index == 0 else self._combination.clipped(self._place + self._step * noise)
            self._asked[index] = self._combination.recipe(place)
        return self._asked[index]

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Moves to the child if its mean score is the best so far, and offers it to the archives."""
        won = self.archives.insert(individual, scores, index)
        recipe, mean = self._asked.pop(index), sum(scores.values()) / len(scores)
        if mean > self._score:
            self._place, self._score, self._best = np.array(recipe.coefficients), mean, individual
        return won

    def answer(self) -> Recipe:
        """The best child."""
        if not self._best:
            raise ValueError("no child has scores yet: evolve at least one generation")
        return Recipe((self._best,), (1.0,))
