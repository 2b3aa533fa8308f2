"""The step that makes the baselines' task vectors."""

from __future__ import annotations

from cycleqd.baselines.naming import candidates
from cycleqd.run.genomes import add_individual, task_vector
from cycleqd.run.names import expert_id, regmean_id
from cycleqd.run.records import IndividualRecord
from cycleqd.seams import BASELINES
from cycleqd.search.operators.merging import MergeMethod
from cycleqd.steps.workspace import Workspace
from cycleqd.telemetry.events import event


def derive_baselines(ws: Workspace) -> list[IndividualRecord]:
    """Merges the experts in every way and at every scale of `RunConfig.baselines`; what is there is kept."""
    skills = ws.config.skill_names
    records = []
    for candidate in candidates(ws.config.baselines):
        if ws.store.has_individual(candidate.id):
            records.append(ws.store.individual(candidate.id))
            continue
        with ws.clock.measuring("merge"):
            # RegMean is the sum of its shares, and is written down as that.
            shares = candidate.method == "regmean"
            parents = [regmean_id(skill) if shares else expert_id(skill) for skill in skills]
            weights = [1.0] * len(parents)
            method: MergeMethod = BASELINES.load(candidate.method)(**candidate.settings)
            merged = method.merge([task_vector(ws.store, parent) for parent in parents], weights)
            record = IndividualRecord(
                id=candidate.id,
                genome="",
                parents=parents,
                coefficients=weights,
                merge={"method": "task_arithmetic" if shares else candidate.method, **candidate.settings},
            )
            records.append(add_individual(ws.store, merged, record))
        event("baseline_derived", run=ws.config.run_id, individual=candidate.id, method=candidate.method)
    return records
