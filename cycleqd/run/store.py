"""The run directory, on a local disk or behind any fsspec URL.

Layout, relative to ``<storage>/<run_id>/`` (objects are written once, commit records last; beside each object but the
mutable ones, ``changes.json``, ``sessions/``, ``archives/`` and ``report/``, lies its checksum: `cycleqd.storage`)::

    config.json                 as the run began, with what ``auto`` meant then
    base.json                   which base model: name, revision, hashes of its files
    changes.json                what later starts changed of the configuration
    experts/<skill>/            adapter or checkpoint, summary.json written last; source.json of one made elsewhere;
                                training.safetensors or training.tar is where a training stands
    bases.safetensors           shared bases of the factored task vectors
    individuals/<id>/           genome.safetensors, individual.json written last
    evaluations/<genome>/       <skill>-<split>.json written last, <skill>-<split>.jsonl.gz (episodes)
    logs/<id>/<skill>-<split>/  what a skill keeps of an evaluation beside episodes, such as the log of inspect_ai
    generations/seed.json       commit record of the seeding
    generations/<t>.json        commit record of generation t
    archives/<t>.json           the archives after generation t (derived from the records)
    sessions/<start>.json       where the time of each start went
    superseded/<n>/             scores, and the search built on them, that were set aside to be measured anew
    aggregate/                  checkpoint/ and adapter/ (where the final model is one), export.json written last
    report/                     pages and figures, summary.json written last
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from cycleqd.config import RunConfig, parse_config
from cycleqd.models.hardware import pinned
from cycleqd.run.base_identity import BaseRecord
from cycleqd.run.continued import at_the_place_of, differences, kept
from cycleqd.run.names import (
    BASE_KEY,
    CHANGES_KEY,
    CONFIG_KEY,
    EXPORT_KEY,
    SEED_KEY,
    RunRef,
    commit_key,
    episodes_key,
    evaluation_key,
    evaluation_name,
    expert_id,
    final_key,
    individual_key,
    regmean_id,
    session_key,
)
from cycleqd.run.records import (
    EpisodeRecord,
    EvaluationRecord,
    ExportRecord,
    GenerationRecord,
    IndividualRecord,
    Record,
    Score,
    SeedRecord,
    SessionRecord,
    newer_version,
    pack_episodes,
    unpack_episodes,
    why_invalid,
)
from cycleqd.storage import ObjectExists, ObjectStore, StoreError

__all__ = ["CHANGEABLE", "RecordUnreadable", "RunStore", "StoreError", "list_runs"]

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
N = TypeVar("N", bound=NamedTuple)

CHANGEABLE = frozenset(
    {
        *("baselines", "comparison", "evaluators", "generations", "memory_limit", "refinement", "retention"),
        *("storage", "tasks", "trackers"),
    }
)
"""Settings that may differ when a run is continued: they change how long and how it runs, what becomes of the search's
answer and what it is compared with, not what the search finds."""

RESCORED = frozenset({"engine", "sandbox"})
"""Settings that scores depend on and nothing else: they may differ, too, when a run's scores are measured anew."""


class RecordUnreadable(StoreError):
    """An object is whole but is not what this version reads there; the text says what differs, in one line."""


def list_runs(storage: str) -> list[str]:
    """Names of the runs under a storage folder or URL, sorted."""
    store = ObjectStore(storage, "")
    return [name for key in store.keys("") if store.exists(f"{(name := key.strip('/'))}/{CONFIG_KEY}")]


class RunStore(ObjectStore):
    """Reads and writes one run's objects.

    Args:
        storage: Folder or fsspec URL that holds runs.
        run_id: The run's name.
        cache: Local folder for copies and uploads, only used when `storage` is remote; the default is `cache_dir`.
    """

    def __init__(self, storage: str, run_id: str, *, cache: Path | None = None) -> None:
        super().__init__(storage, run_id, cache=cache)
        self.run_id = run_id

    @classmethod
    def of(cls, run: RunRef) -> RunStore:
        """The store of a run by reference."""
        return cls(run.storage, run.run_id)

    def record(self, kind: type[R], key: str) -> R:
        """The record at `key`.

        Raises:
            StoreError: It does not exist or is damaged.
            RecordUnreadable: It is no such record, or one of a newer version.
        """
        content = self.read_json(key)
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            raise RecordUnreadable(f"{self.url(key)} cannot be read: {why_invalid(error)}") from None

    def fields(self, kind: type[N], key: str) -> N:
        """The named tuple whose fields were written to `key`; raises as `record` does."""
        content = self.read_json(key)
        names = set(kind._fields)
        if not isinstance(content, dict) or (missing := sorted(names - set(kind._field_defaults) - content.keys())):
            lacking = f"it lacks {', '.join(missing)}" if isinstance(content, dict) else "it is no JSON object"
            raise RecordUnreadable(f"{self.url(key)} cannot be read: {lacking}")
        if unknown := sorted(content.keys() - names):
            raise RecordUnreadable(f"{self.url(key)} cannot be read: {newer_version(unknown)}")
        read: N = kind(**content)  # type: ignore[call-overload]  # mypy sees NamedTuple itself
        return read

    def _write(self, key: str, record: Record, *, replace: bool = False) -> None:
        self.write_json(key, record.model_dump(mode="json"), replace=replace)

    # The run

    def open(self, config: RunConfig, *, rescore: bool = False) -> None:
        """Begins the run, or continues it when it exists. What is ``auto`` is then what it was when the run began.

        Args:
            config: The run's settings.
            rescore: Its scores are to be measured anew, so that the settings of `RESCORED` may differ.

        Raises:
            StoreError: The run exists with other settings; every difference is named.
        """
        if not self.exists(CONFIG_KEY):
            self.write_json(CONFIG_KEY, pinned(config).model_dump(mode="json"))
            return
        may_differ = CHANGEABLE | RESCORED if rescore else CHANGEABLE
        known = self.config()
        asked = kept(config, known)
        asked = asked.model_copy(update={"engine": at_the_place_of(known.engine, asked.engine)})
        if asked.uses_regmean and not known.uses_regmean and self._lacks_shares(known):
            raise StoreError(
                f"run {self.run_id!r} under {self.url()} has experts without shares of RegMean, and its children "
                "are made of these experts: leave regmean out of the baselines, or choose another run_id"
            )
        then, now = known.model_dump(mode="json"), asked.model_dump(mode="json")
        changed = [
            f"  {path}: was {old!r}, now {new!r}"
            for path, old, new in differences(then, now)
            if path.partition(".")[0] not in may_differ
        ]
        if changed:
            raise StoreError(
                f"run {self.run_id!r} exists under {self.url()} with other settings; choose another run_id, "
                "restore the settings, or remove the run:\n" + "\n".join(changed)
            )

    def _lacks_shares(self, config: RunConfig) -> bool:
        """Whether its experts are task vectors already, on bases that their shares of RegMean are not in."""
        made = any(self.has_individual(expert_id(skill)) for skill in config.skill_names)
        return made and not all(self.has_individual(regmean_id(skill)) for skill in config.skill_names)

    def config(self) -> RunConfig:
        """The configuration that the run began with, and of the settings that may change what was last asked for."""
        values = self.read_json(CONFIG_KEY)
        if self.exists(CHANGES_KEY):
            values |= self.read_json(CHANGES_KEY)
        try:
            return RunConfig.model_validate(values)
        except ValidationError as error:
            if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
                raise RecordUnreadable(f"{self.url('config.json')} cannot be read: {why_invalid(error)}") from None
        return parse_config(values, source=self.url(CONFIG_KEY))  # whose refusal names every fault

    def first_config(self) -> RunConfig:
        """The configuration that the run began with."""
        return parse_config(self.read_json(CONFIG_KEY), source=self.url(CONFIG_KEY))

    def adopt(self, config: RunConfig, *, rescore: bool = False) -> RunConfig:
        """Keeps the settings of `config` that may change, for whoever continues the run without naming them.

        Args:
            config: What this start asks for.
            rescore: As for `open`.

        Returns:
            The run's configuration from now on.

        Raises:
            ConfigError: The run cannot have these settings; nothing is kept of them.
        """
        known = self.config()
        taken = CHANGEABLE | RESCORED if rescore else CHANGEABLE
        given = kept(config, known)
        asked = known.model_copy(
            update={
                "engine": at_the_place_of(given.engine, known.engine),
                **{name: getattr(given, name) for name in taken},
            }
        )
        asked = parse_config(asked.model_dump(mode="json"), source=f"what is asked of {self.url()}")
        # Not where it lies: a storage may be moved.
        changes, before = (
            each.model_dump(mode="json", include=set((CHANGEABLE | RESCORED) - {"storage"})) for each in (asked, known)
        )
        if changes != before:
            begun = RunConfig.model_validate(self.read_json(CONFIG_KEY)).model_dump(mode="json")
            rescored = {name: changes[name] for name in RESCORED if changes[name] != begun[name]}
            self.write_json(CHANGES_KEY, {name: changes[name] for name in CHANGEABLE - {"storage"}} | rescored)
        return asked

    def write_base(self, record: BaseRecord) -> None:
        """Writes down which base model the run began with."""
        self._write(BASE_KEY, record)

    def base(self) -> BaseRecord | None:
        """Which base model the run began with; None in one that was begun by a version that did not write it down."""
        return self.record(BaseRecord, BASE_KEY) if self.exists(BASE_KEY) else None

    # Records

    def write_individual(self, record: IndividualRecord, *, replace: bool = False) -> None:
        """Writes the recipe; its genome must already be there."""
        self._write(individual_key(record.id), record, replace=replace)

    def individual(self, identifier: str) -> IndividualRecord:
        """The recipe of an individual by id."""
        return self.record(IndividualRecord, individual_key(identifier))

    def individuals(self) -> list[IndividualRecord]:
        """All recipes, by id."""
        ids = (key.rpartition("/")[2] for key in self.keys("individuals"))
        return [self.individual(name) for name in ids if self.has_individual(name)]

    def has_individual(self, identifier: str) -> bool:
        """Whether the individual was written in full."""
        return self.exists(individual_key(identifier))

    def write_evaluation(self, record: EvaluationRecord, episodes: Iterable[EpisodeRecord]) -> EvaluationRecord:
        """Writes the episodes, then the record that says they are complete.

        Any process may do it, with or without the run's lease.

        Returns:
            The record that stands: that of another process if it finished the same evaluation first.
        """
        named = (record.genome, record.skill, record.split)
        if known := self.evaluation(*named):
            return known
        content = pack_episodes(episodes)
        # A killed evaluation may have left its episodes without the record, and they need not be the same again.
        self.write_bytes(episodes_key(*named), content, replace=True)
        try:
            self._write(evaluation_key(*named), record)
        except ObjectExists:
            return self.evaluation(*named) or record
        if not self.exists(episodes_key(*named)):  # a run that was started in this moment took them for a leftover
            self.write_bytes(episodes_key(*named), content, replace=True)
        return record

    def evaluation(self, genome: str, skill: str, split: str) -> EvaluationRecord | None:
        """The finished evaluation of these weights, or None."""
        key = evaluation_key(genome, skill, split)
        return self.record(EvaluationRecord, key) if self.exists(key) else None

    def pooled(self, genome: str, skill: str, split: str) -> EvaluationRecord | None:
        """What is known of these weights on a split: its evaluation, or those of its parts put together."""
        found = [
            record
            for part in self._parts(genome, skill, split)
            if (record := self.evaluation(genome, skill, part)) is not None
        ]
        if len(found) < 2:
            return found[0] if found else None
        samples = [sample for record in found for sample in record.samples]
        return found[0].model_copy(
            update={
                "split": split,
                "samples": samples,
                "score": Score.of([sample.score for sample in samples]),
                "tokens": sum(record.tokens for record in found),
                "seconds": sum(record.seconds for record in found),
            }
        )

    def pooled_episodes(self, genome: str, skill: str, split: str) -> list[EpisodeRecord]:
        """The episodes of `pooled`, in the order of its samples."""
        parts = self._parts(genome, skill, split)
        return [episode for part in parts for episode in self.episodes(genome, skill, part)]

    def _parts(self, genome: str, skill: str, split: str) -> list[str]:
        """The split itself where it was evaluated as a whole, else its evaluated parts in order."""
        if self.exists(evaluation_key(genome, skill, split)):
            return [split]
        names = [evaluation_name(key) for key in self.keys(f"evaluations/{genome}")]
        parts = [name.part for name in names if name and name.skill == skill and name.part.startswith(f"{split}.")]
        return sorted(parts, key=lambda part: int(part.removeprefix(f"{split}.").partition("-")[0]))

    def episodes(self, genome: str, skill: str, split: str) -> list[EpisodeRecord]:
        """The episodes of a finished evaluation, in the order of the samples."""
        key = episodes_key(genome, skill, split)
        content = self.read_bytes(key)
        try:
            return unpack_episodes(content)
        except ValidationError as error:
            raise RecordUnreadable(f"{self.url(key)} cannot be read: {why_invalid(error)}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise RecordUnreadable(f"{self.url(key)} cannot be read: {error}") from None

    def write_seed(self, record: SeedRecord) -> None:
        """Commits the seeding."""
        self._write(SEED_KEY, record)

    def seed(self) -> SeedRecord | None:
        """The seeding's record, or None while it is not finished."""
        return self.record(SeedRecord, SEED_KEY) if self.exists(SEED_KEY) else None

    def write_generation(self, record: GenerationRecord) -> None:
        """Commits a generation; the last object that a generation writes."""
        self._write(commit_key(record.generation), record)

    def generations(self) -> list[GenerationRecord]:
        """The finished generations in order, up to the first gap."""
        records: list[GenerationRecord] = []
        for key in self.keys("generations"):
            if key.endswith(f"/{len(records):05d}.json"):
                records.append(self.record(GenerationRecord, key))
        return records

    def write_export(self, record: ExportRecord) -> None:
        """Commits the export of the final model; its folders must already be there."""
        self._write(EXPORT_KEY, record, replace=True)

    def export(self) -> ExportRecord | None:
        """Which final model was exported in full, or None while none is."""
        return self.record(ExportRecord, EXPORT_KEY) if self.exists(EXPORT_KEY) else None

    def has_exported(self, genome: str) -> bool:
        """Whether the final model of these weights was exported, and is still there."""
        record = self.export()
        if record is None or record.genome != genome:
            return False
        return all(self.exists(final_key(name)) for name in record.formats)

    def write_session(self, record: SessionRecord) -> None:
        """Writes where a session's time went; a later call of the same session overwrites it."""
        self._write(session_key(record.started), record)

    def sessions(self) -> list[SessionRecord]:
        """All sessions in the order of their start; those that are damaged are told and left out."""
        found = []
        for key in self.keys("sessions"):
            try:
                found.append(self.record(SessionRecord, key))
            except RecordUnreadable:  # a newer version was here
                raise
            except StoreError as fault:  # they hold times alone, which no result depends on
                log.warning("run %s: a session is left out: %s", self.run_id, fault)
        return found
