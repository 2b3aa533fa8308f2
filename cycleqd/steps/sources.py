"""Experts that the run does not train: where they come from, and that they stay the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cycleqd.config import RunConfig
from cycleqd.experts.sources import Found, SourceInvalid, SourceUnavailable, Update, find
from cycleqd.experts.sources.location import hash_of
from cycleqd.run.names import expert_id, expert_key
from cycleqd.run.source_record import SourceRecord
from cycleqd.run.store import RunStore
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import StoreError, cache_dir
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)


class SourceDiffers(StoreError):
    """An expert's source has other files than those that the run began with; the text names them."""


def take_expert(ws: Workspace, skill: str) -> SourceRecord:
    """Writes down where the expert of a skill comes from and what it is, once it is found to fit the base.

    Raises:
        SourceInvalid: It does not fit, or cannot be read.
        SourceUnavailable: It cannot be had here.
        SourceDiffers: It has changed since this run read it.
    """
    known = _record(ws.store, skill)
    if known is not None and ws.store.has_individual(expert_id(skill)):
        return known
    found = _found(ws.config, skill, known)
    with ws.clock.measuring("train"):
        source = found.open()
        update = source.update(ws.evaluator.base_weights)
        source.check_values()
        files = found.files()
        record = SourceRecord(
            kind=found.kind,
            given=found.given,
            folder=str(found.folder),
            revision=found.revision,
            files=files,
            hash=hash_of(files),
            form="factored" if update.dense is None else "dense",
            parameters=len(update.names()),
            notes=list(update.notes),
            as_others_read=update.as_others_read,
        )
    _refuse_others(ws.store.run_id, skill, known, record.files)
    if known is None:
        ws.store.write_json(expert_key(skill, "source.json"), record.model_dump(mode="json"))
        event("expert_taken", run=ws.config.run_id, skill=skill, kind=record.kind, hash=record.hash)
    return record


def update_of(ws: Workspace, skill: str) -> Update:
    """The expert of a skill minus the base, whether the run has trained it or not."""
    if ws.config.experts.source_of(skill) is None:
        trained: Update = EXPERT_SOURCES.make("trained", ws.store.local(expert_key(skill, "model"))).update(
            ws.evaluator.base_weights
        )
        return trained
    take_expert(ws, skill)
    return _found(ws.config, skill, _record(ws.store, skill)).open().update(ws.evaluator.base_weights)


def refuse_other_sources(store: RunStore, config: RunConfig) -> None:
    """Holds the sources of a run's experts against what they were when it began.

    A source that is gone is told and no fault once its expert is in the run, which does not need it any more.

    Args:
        store: The run.
        config: Its configuration, which names the sources.

    Raises:
        SourceDiffers: One has changed.
    """
    for skill in config.skill_names:
        known = _record(store, skill)
        if known is None or config.experts.source_of(skill) is None:
            continue
        try:
            found = _found(config, skill, known)
        except (SourceInvalid, SourceUnavailable) as error:
            if not store.has_individual(expert_id(skill)):
                raise
            log.warning("run %s: %s; its expert is in the run, which goes on", store.run_id, error)
            continue
        _refuse_others(store.run_id, skill, known, found.files())


def source_records(store: RunStore, skills: tuple[str, ...]) -> Mapping[str, SourceRecord]:
    """Where the experts of a run come from that it did not train, by skill."""
    return {skill: record for skill in skills if (record := _record(store, skill)) is not None}


def _record(store: RunStore, skill: str) -> SourceRecord | None:
    key = expert_key(skill, "source.json")
    return store.record(SourceRecord, key) if store.exists(key) else None


def _found(config: RunConfig, skill: str, known: SourceRecord | None) -> Found:
    given = config.experts.source_of(skill) or ""
    # A branch moves; the run stays with the commit that it began with.
    return find(given, cache_dir(), revision=known.revision if known and known.revision else None)


def _refuse_others(run_id: str, skill: str, known: SourceRecord | None, files: Mapping[str, str]) -> None:
    if known is None or known.files == files:
        return
    names = sorted(name for name in known.files.keys() | files.keys() if known.files.get(name) != files.get(name))
    raise SourceDiffers(
        f"run {run_id!r}: the source of the {skill} expert, {known.given}, is not what the run began with: "
        f"{', '.join(names[:5])} changed. Restore the files, or start a run of another name"
    )
