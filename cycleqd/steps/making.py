"""Making an individual from its recipe."""

from __future__ import annotations

from cycleqd.run.genomes import add_individual, save_bases, task_vector
from cycleqd.run.names import expert_id, own_bases_key
from cycleqd.run.records import IndividualRecord
from cycleqd.search import Recipe, build_mutation, make
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import FactoredTaskVector


def add_made(ws: Workspace, recipe: Recipe, record: IndividualRecord) -> IndividualRecord:
    """Makes a recipe's task vector and writes it down, with what the record says of it already."""
    made = make(
        recipe,
        lambda identifier: task_vector(ws.store, identifier),
        mutation=build_mutation(ws.config.mutation),
        expert_of=expert_id,
    )
    lost = {"residual": made.residual} if made.residual else {}
    record = record.model_copy(update={"merge": {**recipe.merge, **lost}})
    others = any(ws.store.exists(own_bases_key(parent)) for parent in recipe.parents)
    if others and isinstance(made.task_vector, FactoredTaskVector):  # of a model that is not made of the experts
        save_bases(ws.store, made.task_vector.bases, of=record.id)
    return add_individual(ws.store, made.task_vector, record)
