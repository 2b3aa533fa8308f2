"""One generation of the search as ask and tell: pure functions of archives and seed.

```
proposal = propose(archives, generation, seed, sampler)
child = breed(parents, expert, generation, seed, crossover, mutation)
...                                   # evaluate the child on every skill
won = tell(archives, child_id, scores, generation)
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from cycleqd.archive import Archives, Occupant, Win
from cycleqd.operators import Crossover, Mutation, Sampler
from cycleqd.randomness import rng
from cycleqd.task_vector import TaskVector


class Proposal(NamedTuple):
    """Who is to have the next child.

    Attributes:
        skill: The active skill, whose archive both parents come from.
        parents: Ids of the two parents; the same twice where the archive holds but one.
    """

    skill: str
    parents: tuple[str, str]


class Child(NamedTuple):
    """A child before its evaluation.

    Attributes:
        task_vector: Its parameters minus the base's.
        draws: The crossover's (ω1, ω2).
        coefficients: What the parents were multiplied by.
        mutation_seed: Fixes the mutation's draw; None where nothing was drawn.
        residual: Share of the merge that its parents' bases could not hold.
        merge_seed: Fixes the merge's own draw; None where nothing was drawn.
    """

    task_vector: TaskVector
    draws: tuple[float, float]
    coefficients: tuple[float, float]
    mutation_seed: int | None
    residual: float = 0.0
    merge_seed: int | None = None


def propose(archives: Archives, generation: int, seed: int, sampler: Sampler) -> Proposal:
    """The parents of a generation's child.

    Args:
        archives: The archives after the generation before.
        generation: From 0.
        seed: The run's seed, at least 0.
        sampler: Draws from the active archive.

    Raises:
        ValueError: The active archive is empty.
    """
    skill = archives.active(generation)
    occupants = archives[skill].occupants()
    if not occupants:
        raise ValueError(f"the archive of {skill} is empty; offer the experts first")
    scores = [[occupant.scores[name] for name in archives.skills] for occupant in occupants]
    first, second = sampler.sample(scores, rng(seed, generation, "sampling"))
    return Proposal(skill, (occupants[first].id, occupants[second].id))


def breed(
    parents: tuple[TaskVector, TaskVector],
    expert: TaskVector,
    generation: int,
    seed: int,
    crossover: Crossover,
    mutation: Mutation,
) -> Child:
    """The child of two parents.

    Args:
        parents: The task vectors of the proposal's parents, in its order.
        expert: The task vector of the active skill's expert.
        generation: From 0.
        seed: The run's seed, at least 0.
        crossover: Mixes the parents.
        mutation: Changes the mix.

    Raises:
        ValueError: The task vectors don't fit together.
    """
    mixed = crossover.cross(*parents, rng(seed, generation, "crossover"))
    mutated = mutation.mutate(mixed.child, expert, rng(seed, generation, "mutation"))
    return Child(mutated.child, mixed.draws, mixed.coefficients, mutated.seed, mixed.residual, mixed.seed)


def tell(archives: Archives, individual: str, scores: Mapping[str, float], generation: int) -> dict[str, Win | None]:
    """Takes a child's scores into all archives; see `Archives.insert`."""
    return archives.insert(individual, scores, generation)


def final_elites(archives: Archives, choice: Literal["quality", "balanced"]) -> dict[str, Occupant]:
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
