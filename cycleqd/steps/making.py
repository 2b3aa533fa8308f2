"""Making an individual from its recipe."""

from __future__ import annotations

from cycleqd.run.genomes import add_individual, task_vector
from cycleqd.run.names import expert_id
from cycleqd.run.records import IndividualRecord
from cycleqd.search import Recipe, build_mutation, make
from cycleqd.steps.workspace import Workspace


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
    return add_individual(ws.store, made.task_vector, record)
