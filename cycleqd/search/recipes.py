"""Making an individual's task vector from its recipe."""

from __future__ import annotations

from collections.abc import Callable

from cycleqd.operators import Mutation
from cycleqd.operators.merging import merge_method
from cycleqd.search.protocol import Recipe
from cycleqd.task_vector import TaskVector, weighted_sum


def make(
    recipe: Recipe, vector_of: Callable[[str], TaskVector], *, mutation: Mutation, expert_of: Callable[[str], str]
) -> TaskVector:
    """The task vector of a recipe.

    Args:
        recipe: How it is made.
        vector_of: The task vector of an individual by id.
        mutation: Applies the recipe's mutation, where it has one.
        expert_of: The id of the expert of a skill.

    Raises:
        ValueError: The parents don't fit together, or the recipe's mutation is of another kind.
    """
    vectors = [vector_of(parent) for parent in recipe.parents]
    if recipe.merge:
        name, settings = str(recipe.merge["method"]), {k: v for k, v in recipe.merge.items() if k != "method"}
        mixed = merge_method(name, **settings).merge(vectors, recipe.coefficients)
    else:
        mixed = weighted_sum(recipe.coefficients, vectors)
    if not recipe.mutation:
        return mixed
    if recipe.mutation["kind"] != mutation.kind:
        raise ValueError(f"the recipe asks for mutation {recipe.mutation['kind']!r}, got {mutation.kind!r}")
    seed = recipe.mutation.get("seed")
    expert = vector_of(expert_of(recipe.archive)) if recipe.archive is not None else mixed
    return mutation.apply(mixed, expert, None if seed is None else int(seed))
