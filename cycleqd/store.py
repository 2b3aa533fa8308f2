"""The run directory, on a local disk or behind any fsspec URL.

Layout, relative to ``<storage>/<run_id>/`` (objects are written once, commit records last; beside each object but the
mutable ones, ``changes.json``, ``sessions/``, ``archives/`` and ``report/``, lies its checksum: `cycleqd.storage`)::

    config.json  base.json
    changes.json                what later starts changed of the configuration
    experts/<skill>/            adapter or checkpoint, summary.json written last
    bases.safetensors           shared bases of the factored task vectors
    individuals/<id>/           genome.safetensors, individual.json written last
    evaluations/<genome>/       <skill>-<split>.json written last, <skill>-<split>.jsonl.gz (episodes)
    generations/seed.json       commit record of the seeding
    generations/<t>.json        commit record of generation t
    archives/<t>.json           the archives after generation t (derived from the records)
    sessions/<start>.json       where the time of each start went
    aggregate/                  checkpoint/ and adapter/ (where the final model is one), export.json written last
    report/                     pages and figures, summary.json written last
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from cycleqd.config import RunConfig, parse_config
from cycleqd.hardware import with_dtype
from cycleqd.records import (
    EpisodeRecord,
    EvaluationRecord,
    ExportRecord,
    GenerationRecord,
    IndividualRecord,
    Record,
    SeedRecord,
    SessionRecord,
    pack_episodes,
    unpack_episodes,
)
from cycleqd.storage import ObjectStore, StoreError

__all__ = ["CHANGEABLE", "RunStore", "StoreError", "list_runs"]

R = TypeVar("R", bound=Record)

CHANGEABLE = frozenset({"baselines", "generations", "retention", "storage", "tasks"})
"""Settings that may differ when a run is continued: they change how long and how it runs and what the final model is
compared with, not what comes out."""

_CHANGES = "changes.json"


def list_runs(storage: str) -> list[str]:
    """Names of the runs under a storage folder or URL, sorted."""
    store = ObjectStore(storage, "")
    return [name for key in store.keys("") if store.exists(f"{(name := key.strip('/'))}/config.json")]


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

    def _read(self, kind: type[R], key: str) -> R:
        return kind.model_validate(self.read_json(key))

    def _write(self, key: str, record: Record, *, replace: bool = False) -> None:
        self.write_json(key, record.model_dump(mode="json"), replace=replace)

    # The run

    def open(self, config: RunConfig) -> None:
        """Begins the run, or continues it when it exists.

        Raises:
            StoreError: The run exists with other settings; every difference is named.
        """
        if not self.exists("config.json"):
            self.write_json("config.json", with_dtype(config).model_dump(mode="json"))
            return
        then, now = self.config().model_dump(mode="json"), config.model_dump(mode="json")
        if now["model"]["dtype"] == "auto":
            now["model"]["dtype"] = then["model"]["dtype"]
        changed = [
            f"  {path}: was {old!r}, now {new!r}"
            for path, old, new in _differences(then, now)
            if path.partition(".")[0] not in CHANGEABLE
        ]
        if changed:
            raise StoreError(
                f"run {self.run_id!r} exists under {self.url()} with other settings; choose another run_id, "
                "restore the settings, or remove the run:\n" + "\n".join(changed)
            )

    def config(self) -> RunConfig:
        """The configuration that the run began with, and of the settings that may change what was last asked for."""
        values = self.read_json("config.json")
        if self.exists(_CHANGES):
            values |= self.read_json(_CHANGES)
        return parse_config(values, source=self.url("config.json"))

    def adopt(self, config: RunConfig) -> None:
        """Keeps the settings of `config` that may change, for whoever continues the run without naming them."""
        # Not where it lies: a storage may be moved.
        asked, known = (
            each.model_dump(mode="json", include=set(CHANGEABLE - {"storage"})) for each in (config, self.config())
        )
        if asked != known:
            self.write_json(_CHANGES, asked)

    # Records

    def write_individual(self, record: IndividualRecord, *, replace: bool = False) -> None:
        """Writes the recipe; its genome must already be there."""
        self._write(f"individuals/{record.id}/individual.json", record, replace=replace)

    def individual(self, identifier: str) -> IndividualRecord:
        """The recipe of an individual by id."""
        return self._read(IndividualRecord, f"individuals/{identifier}/individual.json")

    def individuals(self) -> list[IndividualRecord]:
        """All recipes, by id."""
        ids = (key.rpartition("/")[2] for key in self.keys("individuals"))
        return [self.individual(name) for name in ids if self.has_individual(name)]

    def has_individual(self, identifier: str) -> bool:
        """Whether the individual was written in full."""
        return self.exists(f"individuals/{identifier}/individual.json")

    def write_evaluation(self, record: EvaluationRecord, episodes: Iterable[EpisodeRecord]) -> None:
        """Writes the episodes, then the record that says they are complete."""
        stem = f"evaluations/{record.identity}/{record.skill}-{record.split}"
        # A killed evaluation may have left its episodes without the record, and they need not be the same again.
        self.write_bytes(f"{stem}.jsonl.gz", pack_episodes(episodes), replace=True)
        self._write(f"{stem}.json", record)

    def evaluation(self, identity: str, skill: str, split: str) -> EvaluationRecord | None:
        """The finished evaluation of these weights, or None."""
        key = f"evaluations/{identity}/{skill}-{split}.json"
        return self._read(EvaluationRecord, key) if self.exists(key) else None

    def episodes(self, identity: str, skill: str, split: str) -> list[EpisodeRecord]:
        """The episodes of a finished evaluation, in the order of the samples."""
        return unpack_episodes(self.read_bytes(f"evaluations/{identity}/{skill}-{split}.jsonl.gz"))

    def write_seed(self, record: SeedRecord) -> None:
        """Commits the seeding."""
        self._write("generations/seed.json", record)

    def seed(self) -> SeedRecord | None:
        """The seeding's record, or None while it is not finished."""
        return self._read(SeedRecord, "generations/seed.json") if self.exists("generations/seed.json") else None

    def write_generation(self, record: GenerationRecord) -> None:
        """Commits a generation; the last object that a generation writes."""
        self._write(f"generations/{record.generation:05d}.json", record)

    def generations(self) -> list[GenerationRecord]:
        """The finished generations in order, up to the first gap."""
        records: list[GenerationRecord] = []
        for key in self.keys("generations"):
            if key.endswith(f"/{len(records):05d}.json"):
                records.append(self._read(GenerationRecord, key))
        return records

    def write_export(self, record: ExportRecord) -> None:
        """Commits the export of the final model; its folders must already be there."""
        self._write("aggregate/export.json", record, replace=True)

    def export(self) -> ExportRecord | None:
        """Which final model was exported in full, or None while none is."""
        return self._read(ExportRecord, "aggregate/export.json") if self.exists("aggregate/export.json") else None

    def has_exported(self, genome: str) -> bool:
        """Whether the final model of these weights was exported, and is still there."""
        record = self.export()
        if record is None or record.genome != genome:
            return False
        return all(self.exists(f"aggregate/{name}") for name in record.formats)

    def write_session(self, record: SessionRecord) -> None:
        """Writes where a session's time went; a later call of the same session overwrites it."""
        self._write(f"sessions/{record.started.replace(':', '')}.json", record)

    def sessions(self) -> list[SessionRecord]:
        """All sessions in the order of their start."""
        return [self._read(SessionRecord, key) for key in self.keys("sessions")]


def _differences(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from _differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from _differences(old, new, f"{path}.{index}")
    elif then != now:
        yield path, then, now
