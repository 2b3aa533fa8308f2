"""Searches over the coefficients of a linear combination of the experts: the paper's baselines, without archives.

A child is Σ_k c_k τ_k, one coefficient per expert in a given range (see `Combination`), and its fitness is the mean of
its scores. What differs is who proposes: `RandomProposer`, `PolicyGradientProposer`, `CmaEsProposer` or
`Nsga2Proposer`. All children are offered to archives as well: a report shows what CycleQD would have kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from cycleqd.search.archive import Win
from cycleqd.search.operators.merging.protocol import MIN_WEIGHT_SUM
from cycleqd.search.protocol import Recipe, Start


@dataclass(frozen=True, slots=True)
class Combination:
    """What coefficients are, and the child that is made of them.

    Attributes:
        experts: Ids of the experts, one coefficient each.
        low: Lower end of the coefficients' range, at least 0 for ``tsv``.
        high: Upper end, above `low`.
        merge: ``linear`` is the plain sum Σ_k c_k τ_k. ``tsv`` is the same sum of the experts as TSV-Merge makes them
            orthogonal to each other: its scale is the coefficients' mean, its weights are the coefficients.
            ``regmean`` is the plain sum of the experts' shares of RegMean, whose ids `experts` then has.
    """

    experts: tuple[str, ...]
    low: float
    high: float
    merge: Literal["linear", "tsv", "regmean"] = "linear"

    @property
    def coefficients(self) -> int:
        """Numbers that make a child."""
        return len(self.experts)

    @property
    def middle(self) -> np.ndarray:
        """The range's middle, shape (coefficients,), float64."""
        return np.full(self.coefficients, (self.low + self.high) / 2)

    def clipped(self, points: np.ndarray) -> np.ndarray:
        """Points, moved into the range."""
        return np.clip(points, self.low, self.high)

    def recipe(self, point: Sequence[float] | np.ndarray, *, block: int = 0, archive: str | None = None) -> Recipe:
        """The recipe of the child at a point, shape (coefficients,)."""
        values = tuple(float(c) for c in point)
        merge: dict[str, float | int | str] = {}
        # Below it there is nothing to make orthogonal, and the plain sum is about nothing, too.
        if self.merge == "tsv" and math.fsum(values) >= MIN_WEIGHT_SUM:
            merge = {"method": "tsv", "scale": math.fsum(values) / len(values)}
        return Recipe(self.experts, values, archive, merge, block=block)

    def point_of(self, recipe: Recipe) -> np.ndarray | None:
        """Where an individual lies, shape (coefficients,), float64; None where it is no combination of this kind.

        A merge at a scale lies where `recipe` makes the same task vector: at its weights times the scale. It may lie
        outside the range.
        """
        settings = dict(recipe.merge)
        method, scale = settings.pop("method", "task_arithmetic"), float(settings.pop("scale", 1.0))
        weights = np.array(recipe.coefficients, dtype=np.float64)
        if recipe.parents != self.experts or recipe.mutation or settings:
            return None
        if self.merge == "tsv":
            return scale * weights / weights.mean() if method == "tsv" and weights.mean() > 0 else None
        return scale * weights if method == "task_arithmetic" else None


class Told(NamedTuple):
    """A child whose scores are known.

    Attributes:
        number: Which child.
        individual: Its id.
        coefficients: One per expert.
        scores: Its scores in [0, 1], in the order of the skills.
    """

    number: int
    individual: str
    coefficients: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def fitness(self) -> float:
        """The mean score, in [0, 1]."""
        return math.fsum(self.scores) / len(self.scores)


class Proposer(Protocol):
    """Proposes coefficients and learns from fitness; rebuilt by asking and telling again in the same order."""

    def ask(self, index: int) -> Sequence[float]:
        """The coefficients of child `index`; called once for each index, in their order."""
        ...

    def tell(self, child: Told) -> None:
        """Takes a child's scores; called once for each child that was asked for, in any order."""
        ...

    def centre(self) -> Sequence[float] | None:
        """Where the proposals have come to, if that is a better guess than the child that was luckiest."""
        ...


class CoefficientSearch:
    """A `Search` whose children are linear combinations of the experts.

    Args:
        start: What it begins with.
        combination: What is made of coefficients.
        proposer: Proposes the coefficients, one per expert.
    """

    def __init__(self, start: Start, combination: Combination, proposer: Proposer) -> None:
        self.archives = start.archives
        self._start, self._combination = start, combination
        self._proposer = proposer
        self._asked: dict[int, tuple[float, ...]] = {}
        self._best: Told | None = None

    def ask(self, index: int) -> Recipe:
        """The proposer's next coefficients; see `Search.ask`."""
        if index not in self._asked:
            self._asked[index] = tuple(float(c) for c in self._proposer.ask(index))
        return self._combination.recipe(self._asked[index])

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Tells the proposer, and the archives; see `Search.tell`.

        Raises:
            ValueError: As `Search.tell`, or the child was not asked for, or was told before.
        """
        if index not in self._asked:
            raise ValueError(f"child {index} is told before it was asked for, or twice")
        won = self.archives.insert(individual, scores, index)
        child = Told(index, individual, self._asked.pop(index), tuple(scores[skill] for skill in self.archives.skills))
        self._proposer.tell(child)
        # A tie goes to the more recent: the proposals have come closer since.
        if self._best is None or child.fitness >= self._best.fitness:
            self._best = child
        return won

    def answer(self) -> Recipe:
        """The proposer's centre, else the child of the highest mean score; see `without_children`, too."""
        if self._best is None:
            return without_children(self._start, self._combination)
        centre = self._proposer.centre()
        if centre is None:
            return Recipe((self._best.individual,), (1.0,))
        return self._combination.recipe(centre)


def without_children(start: Start, combination: Combination) -> Recipe:
    """The answer of a search without a child: the best of the baselines that it knows, else the range's middle."""
    if not start.known:
        return combination.recipe(combination.middle)
    best = max(start.known, key=lambda one: math.fsum(one.scores.values()))
    return Recipe((best.individual,), (1.0,))
