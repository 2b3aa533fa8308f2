"""What must hold before a process goes on with a run: the same base model, and scores that this process would repeat.

`admit` is called once by whoever opened the run, with its lease. Scores that depend on something else than what this
process has are never mixed with new ones: it refuses and names every difference, or, when asked to, sets them aside so
that they are measured anew (`cycleqd.run.upkeep.rescoring`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping

from cycleqd.evaluation.fingerprint import differences
from cycleqd.run.base_identity import refuse_other_base
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.upkeep.commits import in_parallel
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.rescoring import set_aside
from cycleqd.skills.parts import split_of
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import StoreError

log = logging.getLogger(__name__)


class OtherScores(StoreError):
    """The run's scores depend on something that this process does not have; the text says on what."""


def admit(ws: Workspace, *, rescore: bool = False) -> None:
    """Holds base model and scores of a run against what this process would use; does it once per workspace.

    Args:
        ws: The run, whose lease this process holds.
        rescore: Sets scores with another fingerprint, or without one, aside instead of refusing them, and with them
            the whole search if it was built on such scores. Nothing is removed.

    Raises:
        BaseDiffers: The base model's files are not those that the run began with. Asking for new scores does not help:
            its experts were trained on them.
        OtherScores: There are scores with another fingerprint, and `rescore` was not asked for.
    """
    if ws.admitted:
        return
    known = ws.store.base()
    if known is None:
        ws.store.write_base(ws.base_identity)
    else:
        refuse_other_base(ws.store.run_id, known, ws.base_identity)
    keys = [key for key in Inventory(ws.store).under("evaluations") if key.endswith(".json")]
    records = dict(zip(keys, in_parallel(lambda key: ws.store.record(EvaluationRecord, key), keys), strict=True))
    unknown = [key for key, record in records.items() if not record.fingerprint]
    found = {key: _differences(ws, record) for key, record in records.items() if record.fingerprint}
    stale = {key: texts for key, texts in found.items() if texts}
    if rescore:
        if stale or unknown:
            set_aside(ws.store, [*stale, *unknown], _by_part(records, stale))
            ws.search = None
    elif stale:
        raise OtherScores(_refusal(ws, records, stale))
    elif unknown:
        log.warning(
            "run %s: %d of its evaluations were written by a version that kept no fingerprints; they are taken as "
            "they are, and nobody can tell whether they would come out the same now (--rescore measures them anew)",
            ws.store.run_id,
            len(unknown),
        )
    ws.admitted = True


def refuse_other_scores(ws: Workspace, record: EvaluationRecord) -> None:
    """Refuses one finished evaluation that this process would not repeat.

    Raises:
        OtherScores: Its fingerprint differs.
    """
    if texts := record.fingerprint and _differences(ws, record):
        raise OtherScores(_refusal(ws, {"": record}, {"": texts}))


def _differences(ws: Workspace, record: EvaluationRecord) -> dict[str, str]:
    if record.skill not in ws.skills or split_of(record.split) not in ("train", "optimization", "test"):
        return {}  # of no skill of this run: nothing reads it
    return differences(record.fingerprint, ws.fingerprint(record.skill, record.split))


def _by_part(records: Mapping[str, EvaluationRecord], stale: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """What differs (``judge: was ..., now ...``), each with the skills that it concerns."""
    found: dict[str, set[str]] = defaultdict(set)
    for key, texts in stale.items():
        for part, text in texts.items():
            found[f"{part} {text}"].add(records[key].skill)
    return {text: sorted(skills) for text, skills in sorted(found.items())}


def _refusal(ws: Workspace, records: Mapping[str, EvaluationRecord], stale: Mapping[str, Mapping[str, str]]) -> str:
    parts = "; ".join(f"{text} ({', '.join(skills)})" for text, skills in _by_part(records, stale).items())
    return (
        f"run {ws.store.run_id!r}: {len(stale)} of its scores were measured otherwise than they would be now: "
        f"{parts}. Such scores are not mixed: restore what changed, measure anew (cycleqd run --rescore), or start a "
        "run of another name"
    )
