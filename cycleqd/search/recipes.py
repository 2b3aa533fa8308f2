"""Making an individual's task vector from its recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cycleqd.search.operators import Mutation
from cycleqd.search.operators.merging import merge_method
from cycleqd.search.protocol import Recipe
from cycleqd.task_vector import FactoredTaskVector, TaskVector, project, weighted_sum


class Made(NamedTuple):
    """An individual, made.

    Attributes:
        task_vector: Its task vector.
        residual: Share of the merge that its parents' bases could not hold; 0 where nothing was lost.
    """

    task_vector: TaskVector
    residual: float


def make(
    recipe: Recipe, vector_of: Callable[[str], TaskVector], *, mutation: Mutation, expert_of: Callable[[str], str]
) -> Made:
    """The task vector of a recipe.

    A merge method that acts on entries leaves the bases of factored parents. Its child is brought back to them, so
    that the next generation can be merged on cores.

    Args:
        recipe: How it is made.
        vector_of: The task vector of an individual by id.
        mutation: Applies the recipe's mutation, where it has one.
        expert_of: The id of the expert of a skill.

    Raises:
        ValueError: The parents don't fit together, or the recipe's mutation is of another kind.
    """
    vectors = [vector_of(parent) for parent in recipe.parents]
    residual = 0.0
    if recipe.merge:
        settings: dict[str, Any] = dict(recipe.merge)
        mixed = merge_method(settings.pop("method"), **settings).merge(vectors, recipe.coefficients)
        if isinstance(vectors[0], FactoredTaskVector) and not isinstance(mixed, FactoredTaskVector):
            mixed, residual = project(mixed, vectors[0].bases)
    else:
        mixed = weighted_sum(recipe.coefficients, vectors)
    if not recipe.mutation:
        return Made(mixed, residual)
    if recipe.mutation["kind"] != mutation.kind:
        raise ValueError(f"the recipe asks for mutation {recipe.mutation['kind']!r}, got {mutation.kind!r}")
    seed = recipe.mutation.get("seed")
    expert = vector_of(expert_of(recipe.archive)) if recipe.archive is not None else mixed
    return Made(mutation.apply(mixed, expert, None if seed is None else int(seed)), residual)
