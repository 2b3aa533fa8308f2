"""The end of a run: the final model, and whom it is compared with."""

from __future__ import annotations

from cycleqd.baselines import choices
from cycleqd.run.names import AGGREGATE, ALL_DATA, AVERAGE, BASE, expert_id
from cycleqd.run.records import IndividualRecord
from cycleqd.search import final_elites
from cycleqd.steps.making import add_made
from cycleqd.steps.search import current_search
from cycleqd.steps.workspace import Workspace
from cycleqd.telemetry.events import event


def aggregate(ws: Workspace) -> IndividualRecord:
    """Makes the final model, as the search answers."""
    if ws.store.has_individual(AGGREGATE):
        record = ws.store.individual(AGGREGATE)
        if record.generation == len(ws.store.generations()) - 1:
            return record
    recipe = current_search(ws).answer()
    with ws.clock.measuring("merge"):
        record = IndividualRecord(
            id=AGGREGATE,
            genome="",
            generation=len(ws.store.generations()) - 1,
            parents=list(recipe.parents),
            coefficients=list(recipe.coefficients),
        )
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
    return list(dict.fromkeys([BASE, *all_data, AVERAGE, *merged, *experts, *best, AGGREGATE]))
