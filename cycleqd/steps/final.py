"""The end of a run: the final model, and whom it is compared with."""

from __future__ import annotations

from cycleqd.baselines import choices
from cycleqd.run.genomes import keep_bases
from cycleqd.run.names import (
    AGGREGATE,
    ALL_DATA,
    AVERAGE,
    BASE,
    MERGED,
    REFINED,
    TRAINING,
    expert_id,
    expert_key,
    genome_key,
    individual_key,
    own_bases_key,
)
from cycleqd.run.records import IndividualRecord
from cycleqd.search import final_elites
from cycleqd.steps.making import add_made
from cycleqd.steps.refinement import REFINEMENT
from cycleqd.steps.search import current_search
from cycleqd.steps.workspace import Workspace
from cycleqd.telemetry.events import event


def aggregate(ws: Workspace) -> IndividualRecord:
    """Makes what the search answers: the final model, unless `refine` is to make that of it.

    Where an earlier start refined and this one does not, nothing of that is left for a report to show.
    """
    if ws.config.refinement.epochs:
        return _answer(ws, MERGED)
    record = _answer(ws, AGGREGATE)
    # The recipe first, without which all else is nobody's. Scores stay: they are of the genome, which is the same.
    for key in (individual_key(MERGED), genome_key(MERGED), own_bases_key(MERGED)):
        ws.store.remove(key)
    for name in ("summary.json", *TRAINING):
        ws.store.remove(expert_key(REFINED, name))
    return record


def _answer(ws: Workspace, identifier: str) -> IndividualRecord:
    if ws.store.has_individual(identifier):
        record = ws.store.individual(identifier)
        if record.generation == len(ws.store.generations()) - 1 and record.mutation.get("kind") != REFINEMENT:
            return record
    ws.store.remove(individual_key(identifier))
    recipe = current_search(ws).answer()
    with ws.clock.measuring("merge"):
        record = IndividualRecord(
            id=identifier,
            genome="",
            generation=len(ws.store.generations()) - 1,
            parents=list(recipe.parents),
            coefficients=list(recipe.coefficients),
        )
        # `Rescoring` may answer with a model that is not made of the experts. An earlier one's bases go.
        keep_bases(ws.store, recipe.parents[0], identifier)
        record = add_made(ws, recipe, record)
    event("aggregated", run=ws.config.run_id, generation=record.generation, parents=",".join(record.parents))
    return record


def compared(ws: Workspace) -> list[str]:
    """Whom the report compares on the test split: its rows, of which the aggregate comes last.

    The best individual of an archive is one, also where the aggregate is made of others.
    """
    best = []
    if ws.config.comparison.elites:
        best = [elite.id for elite in final_elites(current_search(ws).archives, "quality").values()]
    all_data = [ALL_DATA] if ws.config.comparison.all_data else []
    experts = map(expert_id, ws.config.skill_names)
    merged = [choice.candidate.id for choice in choices(ws.store)]
    answer = [MERGED] if ws.config.refinement.epochs else []
    return list(dict.fromkeys([BASE, *all_data, AVERAGE, *merged, *experts, *best, *answer, AGGREGATE]))
