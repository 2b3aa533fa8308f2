"""What must hold before a process goes on with a run: the same base model, and scores that this process would repeat.

`admit` is called once by whoever opened the run, with its lease. Scores that depend on something else than what this
process has are never mixed with new ones: it refuses and names every difference, or, when asked to, sets them aside so
that they are measured anew (`cycleqd.run.upkeep.rescoring`).
"""

from __future__ import annotations

import logging

from cycleqd.evaluation.agreement import OtherScores, by_part, refusal, stale_parts
from cycleqd.run.base_identity import refuse_other_base, refuse_unknown_base
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.upkeep.commits import in_parallel
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.rescoring import set_aside
from cycleqd.steps.sources import refuse_other_sources
from cycleqd.steps.workspace import Workspace

log = logging.getLogger(__name__)


def admit(ws: Workspace, *, rescore: bool = False) -> None:
    """Holds base model and scores of a run against what this process would use; does it once per workspace.

    Args:
        ws: The run, whose lease this process holds.
        rescore: Sets scores with another fingerprint, or without one, aside instead of refusing them, and with them
            the whole search if it was built on such scores. Nothing is removed.

    Raises:
        BaseDiffers: The base model's files are not those that the run began with. Asking for new scores does not help:
            its experts were trained on them.
        BaseUnknown: The run has begun, and does not say with which base model.
        SourceDiffers: The source of an expert has other files than those that the run began with.
        OtherScores: There are scores with another fingerprint, and `rescore` was not asked for.
    """
    if ws.admitted:
        return
    evaluator = ws.evaluator
    known = ws.store.base()
    if known is not None:
        refuse_other_base(ws.store.run_id, known, evaluator.base_identity)
    refuse_other_sources(ws.store, ws.config)
    inventory = Inventory(ws.store)
    keys = [key for key in inventory.under("evaluations") if key.endswith(".json")]
    records = dict(zip(keys, in_parallel(lambda key: ws.store.record(EvaluationRecord, key), keys), strict=True))
    if known is None:
        if any(inventory.under(folder) for folder in ("experts", "individuals", "evaluations")):
            fingerprints = [record.fingerprint for record in records.values()]
            refuse_unknown_base(ws.store.run_id, fingerprints, evaluator.base_identity)
        ws.store.write_base(evaluator.base_identity)
    unknown = [key for key, record in records.items() if not record.fingerprint]
    found = {key: stale_parts(record, evaluator.skills, evaluator.fingerprint) for key, record in records.items()}
    stale = {key: texts for key, texts in found.items() if texts}
    if rescore:
        if stale or unknown:
            set_aside(ws.store, [*stale, *unknown], by_part(records, stale))
            ws.search = None
    elif stale:
        raise OtherScores(refusal(ws.store.run_id, records, stale))
    elif unknown:
        log.warning(
            "run %s: %d of its evaluations were written by a version that kept no fingerprints. They are used as they "
            "are; nobody can tell whether they would come out the same now (--rescore measures them anew)",
            ws.store.run_id,
            len(unknown),
        )
    ws.admitted = True
