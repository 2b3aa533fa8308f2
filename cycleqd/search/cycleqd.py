"""The search of the paper: archives take turns, parents are drawn from the active one, children are offered to all.

CycleQD (Kuroki et al. 2024, https://arxiv.org/abs/2410.14735); the conventional form with one fixed quality is the
ablation of its Table 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from cycleqd.randomness import rng
from cycleqd.search.archive import Archives, Occupant, Win
from cycleqd.search.operators import Aggregation, Crossover, Mutation, Sampler
from cycleqd.search.protocol import Recipe, Start

Elites = Literal["quality", "balanced"]


class CycleQD:
    """Cyclic MAP-Elites: child t has two parents from archive t mod K (CycleQD, algorithm 1).

    Args:
        start: What it begins with.
        sampler: Draws the parents from the active archive.
        crossover: Draws their coefficients.
        mutation: Draws how the child is changed.
        aggregation: Weighs the elites in the final model.
        elites: Whom an archive contributes to the final model; see `final_elites`.
    """

    def __init__(
        self,
        start: Start,
        *,
        sampler: Sampler,
        crossover: Crossover,
        mutation: Mutation,
        aggregation: Aggregation,
        elites: Elites = "quality",
    ) -> None:
        self.archives = start.archives
        self._seed, self._budget = start.seed, start.budget
        self._sampler = sampler
        self._crossover = crossover
        self._mutation = mutation
        self._aggregation = aggregation
        self._elites: Elites = elites

    def active(self, index: int) -> str:
        """The skill whose archive the parents of child `index` come from."""
        return self.archives.active(index)

    def ask(self, index: int) -> Recipe:
        """Parents, coefficients and the mutation's seed of child `index`; see `Search.ask`.

        Raises:
            ValueError: The active archive is empty.
        """
        skill = self.active(index)
        occupants = self.archives[skill].occupants()
        if not occupants:
            raise ValueError(f"the archive of {skill} is empty; offer the experts first")
        scores = [[occupant.scores[name] for name in self.archives.skills] for occupant in occupants]
        first, second = self._sampler.sample(scores, rng(self._seed, index, "sampling"))
        crossover = self._crossover.draw(rng(self._seed, index, "crossover"))
        seed = self._mutation.draw(rng(self._seed, index, "mutation"))
        mutation: dict[str, float | int | str] = {"kind": self._mutation.kind}
        if seed is not None:
            mutation["seed"] = seed
        parents = (occupants[first].id, occupants[second].id)
        return Recipe(parents, crossover.coefficients, skill, crossover.merge, mutation)

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Offers the child to all archives; see `Search.tell`."""
        return self.offer(self.archives, index, individual, scores)

    def offer(
        self, archives: Archives, index: int, individual: str, scores: Mapping[str, float]
    ) -> dict[str, Win | None]:
        """Offers child `index` to those of `archives` that take it; returns what it won in each."""
        return archives.insert(individual, scores, index)

    def answer(self) -> Recipe:
        """The archives' elites, weighted by the softmax of their scores.

        Raises:
            ValueError: An archive is empty.
        """
        elites = final_elites(self.archives, self._elites)
        weights = self._aggregation.weights([elite.scores[skill] for skill, elite in elites.items()])
        return Recipe(tuple(elite.id for elite in elites.values()), weights)


class ConventionalQD(CycleQD):
    """K runs of MAP-Elites, each with one skill's score as its quality throughout (CycleQD, Table 2, row 1).

    The budget is split evenly: run k makes the k-th part of the children, from its own archive and for it alone. The
    final model is made of the K runs' elites as in CycleQD.
    """

    def active(self, index: int) -> str:
        """The skill of the run that makes child `index`; beyond the budget the runs take turns."""
        skills = self.archives.skills
        return skills[(index * len(skills) // self._budget if index < self._budget else index) % len(skills)]

    def offer(
        self, archives: Archives, index: int, individual: str, scores: Mapping[str, float]
    ) -> dict[str, Win | None]:
        """Offers child `index` to the archive of its own run."""
        active = self.active(index)
        won = archives[active].insert(individual, scores, index)
        return {skill: won if skill == active else None for skill in archives.skills}


def final_elites(archives: Archives, choice: Elites) -> dict[str, Occupant]:
    """The individuals that the final model is made of, one of each archive.

    ``quality`` takes the highest score in the archive's skill (CycleQD's rule). ``balanced`` is ours: it takes the
    largest product of the scores in all skills, so nobody who lost a skill; archives choose in the order of the cycle,
    and nobody is taken twice while others are left, because the mean of several good merges is steadier than the one
    that a few samples favoured. The paper's rule wants a search so long that the best of a skill is a good merge;
    before that it is the skill's expert, and the aggregate little more than the experts' average. Of equals the higher
    sum and then the more recent is taken.

    Args:
        archives: The archives after the last generation.
        choice: The rule.

    Raises:
        ValueError: An archive is empty.
    """
    if choice == "quality":
        return {skill: archives[skill].elite() for skill in archives.skills}
    elites: dict[str, Occupant] = {}
    for skill in archives.skills:
        everyone = archives[skill].occupants()
        taken = {elite.id for elite in elites.values()}
        elites[skill] = max([one for one in everyone if one.id not in taken] or everyone, key=_balance)
    return elites


def _balance(one: Occupant) -> tuple[float, float, int, str]:
    return math.prod(one.scores.values()), math.fsum(one.scores.values()), one.generation, one.id
