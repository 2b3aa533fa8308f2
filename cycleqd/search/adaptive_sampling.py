"""Spending samples where they decide: racing, re-evaluation, and archives of pooled evidence.

With few samples a child's score is mostly luck, and an archive keeps whom luck favoured. Three remedies, after the
uncertain quality-diversity literature (Flageat and Cully 2023, https://arxiv.org/abs/2302.00463):

* *Racing.* The optimization split is cut into blocks, in a fixed order. A child meets one block after the other. When
  it can no longer enter any archive, at a stated confidence, it meets no more.
* *Re-evaluation.* An elite meets a fresh block before it has its next few offspring, and before it enters the final
  model.
* *Pooled evidence.* An individual's scores are means over all blocks that it met. The archives are filled anew after
  each block, so that they forget luck.

One block of one individual is one generation, so the budget counts blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from cycleqd.search.archive import Archives, Win
from cycleqd.search.protocol import Recipe, Search, Start
from cycleqd.statistics import wilson

SEED = -1
"""The index of whom the archives began with."""


class ArchiveSearch(Search, Protocol):
    """A search that breeds from archives."""

    archives: Archives
    """Breeding goes by them; they may be replaced."""

    def offer(
        self, archives: Archives, index: int, individual: str, scores: Mapping[str, float]
    ) -> dict[str, Win | None]:
        """Offers child `index` to those of `archives` that take it; returns what it won in each."""
        ...


@dataclass(frozen=True, slots=True)
class SamplingRules:
    """How many samples whom.

    Attributes:
        racing: Confidence, in (0.5, 1), with which a child must be out of every archive to meet no further block. None
            gives every child all blocks.
        most: Blocks that a child meets at most while it races, at least 1.
        offspring: Offspring that an individual may have for each block that it met; None for any number.
        final: Blocks that the members of the final model should have met, at least 1; the end of the budget is kept
            for that.
    """

    racing: float | None
    most: int
    offspring: int | None
    final: int


@dataclass(slots=True)
class _Known:
    """An individual and what is known of it."""

    index: int
    archive: str | None
    sums: list[float]
    blocks: int = 0
    offspring: int = 0
    stopped: bool = field(default=False)

    def add(self, scores: Sequence[float]) -> None:
        self.sums = [total + score for total, score in zip(self.sums, scores, strict=True)]
        self.blocks += 1

    def means(self) -> list[float]:
        # A sum of means may exceed its count in the last bit.
        return [min(1.0, max(0.0, total / self.blocks)) for total in self.sums]


class AdaptiveSampling:
    """A search that breeds as another one does, but decides itself who meets how many blocks of samples.

    Args:
        start: What it begins with; all that its archives hold has met block 0.
        search: Breeds the children. Its archives are replaced after each block.
        rules: Who meets how many blocks.
    """

    takes_back: ClassVar[bool] = True

    def __init__(self, start: Start, search: ArchiveSearch, rules: SamplingRules) -> None:
        self.archives = start.archives
        self._search, self._rules = search, rules
        self._budget, self._blocks, self._samples = start.budget, start.blocks, start.samples
        self._skills, self._grids = start.archives.skills, start.archives.grids
        self._known: dict[str, _Known] = {}
        for skill in self._skills:
            for one in start.archives[skill].occupants():
                known = _Known(SEED, None, [one.scores[name] for name in self._skills], blocks=1)
                self._known.setdefault(one.id, known)
        self._children = 0
        self._racer: str | None = None
        self._asked: dict[int, Recipe] = {}

    def ask(self, index: int) -> Recipe:
        """Another block for somebody who needs one, else a new child; see `Search.ask`."""
        if index not in self._asked:
            self._asked[index] = self._next(index)
        return self._asked[index]

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Adds a block to the evidence and fills the archives anew; see `Search.tell`.

        Raises:
            ValueError: As `Search.tell`, or the child was not asked for, or was told before.
        """
        if index not in self._asked:
            raise ValueError(f"child {index} is told before it was asked for, or twice")
        self.archives.check(scores)
        recipe = self._asked.pop(index)
        if recipe.again is None:
            self._known[individual] = _Known(self._children, recipe.archive, [0.0] * len(self._skills))
            self._children += 1
            self._racer = individual
            for parent in recipe.parents:
                self._known[parent].offspring += 1
        self._known[individual].add([scores[skill] for skill in self._skills])
        before, self.archives = self.archives, self._filled()
        self._search.archives = self.archives
        self._known[individual].stopped = not self._may_enter(individual)
        return self._won(individual, before)

    def answer(self) -> Recipe:
        """What the search makes of those who met enough blocks; of everyone while an archive has none of them."""
        tried = self._filled(at_least=min(self._rules.final, self._blocks))
        if not all(tried[skill].cells for skill in self._skills):
            return self._search.answer()
        self._search.archives = tried
        try:
            return self._search.answer()
        finally:
            self._search.archives = self.archives

    def _next(self, index: int) -> Recipe:
        if (late := self._for_the_final_model(index)) is not None:
            return self._again(late)
        if self._racer is not None and self._races(self._racer):
            return self._again(self._racer)
        recipe = self._search.ask(self._children)
        if self._rules.offspring is not None:
            for parent in recipe.parents:
                known = self._known[parent]
                if known.offspring >= self._rules.offspring * known.blocks and known.blocks < self._blocks:
                    return self._again(parent)
        return recipe

    def _races(self, individual: str) -> bool:
        known = self._known[individual]
        if known.blocks >= min(self._rules.most, self._blocks):
            return False
        return self._rules.racing is None or not known.stopped

    def _for_the_final_model(self, index: int) -> str | None:
        """Who would be of the final model and lacks blocks, once the rest of the budget is kept for that.

        Who has met more blocks may turn out worse, and others take the place: so twice the blocks are kept that the
        members lack now.
        """
        try:
            members = self._search.answer().parents
        except ValueError:  # nothing to make it of yet
            return None
        wanted = min(self._rules.final, self._blocks)
        lacking = {member: wanted - self._known[member].blocks for member in dict.fromkeys(members)}
        lacking = {member: blocks for member, blocks in lacking.items() if blocks > 0}
        if not lacking or self._budget - index > 2 * sum(lacking.values()):
            return None
        return max(lacking, key=lambda member: lacking[member])

    def _again(self, individual: str) -> Recipe:
        known = self._known[individual]
        return Recipe((individual,), (1.0,), known.archive, block=known.blocks, again=individual)

    def _filled(self, *, at_least: int = 0) -> Archives:
        """Archives of pooled scores, of those who met so many blocks."""
        archives = Archives(self._skills, self._grids)
        for individual, known in self._known.items():
            if known.blocks < at_least:
                continue
            scores = dict(zip(self._skills, known.means(), strict=True))
            if known.index == SEED:
                archives.insert(individual, scores, SEED)
            else:
                self._search.offer(archives, known.index, individual, scores)
        return archives

    def _may_enter(self, individual: str) -> bool:
        """Whether an individual is in an archive, or its score's upper bound is above whom it would displace."""
        if self._rules.racing is None:
            return True
        means = dict(zip(self._skills, self._known[individual].means(), strict=True))
        for skill, samples in zip(self._skills, self._samples, strict=True):
            incumbent = self.archives[skill].cells.get(self.archives[skill].cell_of(means))
            if incumbent is None or incumbent.id == individual:
                return True
            met = samples * self._known[individual].blocks
            # One-sided at the stated confidence is two-sided at twice its distance from 1.
            bound = wilson(means[skill], met, 1.0 - 2.0 * (1.0 - self._rules.racing)).high
            if bound > incumbent.scores[skill] or math.isclose(bound, incumbent.scores[skill]):
                return True
        return False

    def _won(self, individual: str, before: Archives) -> dict[str, Win | None]:
        """The cells that an individual has now and had not before."""
        won: dict[str, Win | None] = {}
        for skill in self._skills:
            cell = next((cell for cell, one in self.archives[skill].cells.items() if one.id == individual), None)
            held = before[skill].cells.get(cell) if cell is not None else None
            is_new = cell is not None and (held is None or held.id != individual)
            won[skill] = Win(cell, held.id if held else None) if cell is not None and is_new else None
        return won
