"""The run directory, on a local disk or behind any fsspec URL.

Layout, relative to ``<storage>/<run_id>/`` (objects are written once, commit records last)::

    config.json  base.json
    experts/<skill>/            adapter or checkpoint, summary.json written last
    bases.safetensors           shared bases of the factored task vectors
    individuals/<id>/           genome.safetensors, individual.json written last
    evaluations/<genome>/       <skill>-<split>.json written last, <skill>-<split>.jsonl.gz (episodes)
    generations/seed.json       commit record of the seeding
    generations/<t>.json        commit record of generation t
    archives/<t>.json           the archives after generation t (derived from the records)
    sessions/<start>.json       where the time of each start went
    aggregate/  report/
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from cycleqd.config import RunConfig, parse_config
from cycleqd.records import (
    EpisodeRecord,
    EvaluationRecord,
    GenerationRecord,
    IndividualRecord,
    Record,
    SeedRecord,
    SessionRecord,
)

R = TypeVar("R", bound=Record)

CHANGEABLE = frozenset({"generations", "retention", "storage", "tasks"})
"""Settings that may differ when a run is continued: they change how long and how it runs, not what comes out."""


class StoreError(RuntimeError):
    """The run directory cannot serve a request; the text says what was expected and what is there."""


def list_runs(storage: str) -> list[str]:
    """Names of the runs under a storage folder or URL, sorted."""
    fs, root = fsspec.core.url_to_fs(storage)
    if not fs.exists(root):
        return []
    return sorted(
        name for path in fs.ls(root, detail=False) if fs.exists(f"{path}/config.json") and (name := Path(path).name)
    )


class RunStore:
    """Reads and writes one run's objects.

    Args:
        storage: Folder or fsspec URL that holds runs.
        run_id: The run's name.
        scratch: Local folder for files that libraries want on a disk; only used when `storage` is remote.
    """

    def __init__(self, storage: str, run_id: str, *, scratch: Path | None = None) -> None:
        self.storage = storage
        self.run_id = run_id
        self._fs, root = fsspec.core.url_to_fs(storage)
        self._root = f"{root.rstrip('/')}/{run_id}"
        self._scratch = (scratch or Path.home() / ".cache" / "cycleqd" / "scratch") / run_id

    @property
    def is_local(self) -> bool:
        """Whether the run lies on this machine's own file system."""
        return isinstance(self._fs, LocalFileSystem)

    def url(self, key: str = "") -> str:
        """The address of an object, for people and logs."""
        path = f"{self._root}/{key}" if key else self._root
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    # Objects

    def exists(self, key: str) -> bool:
        """Whether the object `key` was written."""
        return bool(self._fs.exists(f"{self._root}/{key}"))

    def read_bytes(self, key: str) -> bytes:
        """The content of `key`.

        Raises:
            StoreError: There is no such object.
        """
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{key}"))
        except FileNotFoundError:
            raise StoreError(f"{self.url(key)} does not exist") from None

    def write_bytes(self, key: str, content: bytes) -> None:
        """Writes `key` so that a reader sees all of it or nothing."""
        path = f"{self._root}/{key}"
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if not self.is_local:  # one put is atomic in object stores
            self._fs.pipe_file(path, content)
            return
        partial = Path(f"{path}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def keys(self, folder: str) -> list[str]:
        """Keys of the objects directly in `folder`, sorted."""
        path = f"{self._root}/{folder}"
        if not self._fs.exists(path):
            return []
        names = (entry["name"].rpartition("/")[2] for entry in self._fs.ls(path, detail=True))
        return sorted(f"{folder}/{name}" for name in names if not name.endswith(".partial"))

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A local path to write a file or folder to; it appears under `key` when the block ends well."""
        final = Path(f"{self._root}/{key}")
        partial = final.with_name(f"{final.name}.{uuid.uuid4().hex}.partial") if self.is_local else self._scratch / key
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if not self.is_local:
                self._fs.put(str(partial), f"{self._root}/{key}", recursive=partial.is_dir())
            else:
                if final.is_dir():
                    shutil.rmtree(final)
                partial.replace(final)
        finally:
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)

    def local(self, key: str) -> Path:
        """A local path from which `key` (a file or a folder) can be read.

        Raises:
            StoreError: There is no such object.
        """
        if not self.exists(key):
            raise StoreError(f"{self.url(key)} does not exist")
        if self.is_local:
            return Path(f"{self._root}/{key}")
        copy = self._scratch / "read" / key
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get(f"{self._root}/{key}", str(copy), recursive=bool(self._fs.isdir(f"{self._root}/{key}")))
        return copy

    # JSON

    def read_json(self, key: str) -> Any:
        """The parsed content of `key`.

        Raises:
            StoreError: It does not exist or is not JSON.
        """
        try:
            return json.loads(self.read_bytes(key))
        except ValueError as error:
            raise StoreError(f"{self.url(key)} is not JSON: {error}") from None

    def write_json(self, key: str, value: Any) -> None:
        """Writes `value` with sorted keys."""
        self.write_bytes(key, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())

    def _read(self, kind: type[R], key: str) -> R:
        return kind.model_validate(self.read_json(key))

    def _write(self, key: str, record: Record) -> None:
        self.write_json(key, record.model_dump(mode="json"))

    # The run

    def open(self, config: RunConfig) -> None:
        """Begins the run, or continues it when it exists.

        Raises:
            StoreError: The run exists with other settings; every difference is named.
        """
        if not self.exists("config.json"):
            self.write_json("config.json", config.model_dump(mode="json"))
            return
        then, now = self.config().model_dump(mode="json"), config.model_dump(mode="json")
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
        """The configuration that the run began with."""
        return parse_config(self.read_json("config.json"), source=self.url("config.json"))

    # Records

    def write_individual(self, record: IndividualRecord) -> None:
        """Writes the recipe; its genome must already be there."""
        self._write(f"individuals/{record.id}/individual.json", record)

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
        lines = "".join(f"{episode.model_dump_json()}\n" for episode in episodes)
        self.write_bytes(f"{stem}.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
        self._write(f"{stem}.json", record)

    def evaluation(self, identity: str, skill: str, split: str) -> EvaluationRecord | None:
        """The finished evaluation of these weights, or None."""
        key = f"evaluations/{identity}/{skill}-{split}.json"
        return self._read(EvaluationRecord, key) if self.exists(key) else None

    def episodes(self, identity: str, skill: str, split: str) -> list[EpisodeRecord]:
        """The episodes of a finished evaluation, in the order of the samples."""
        lines = gzip.decompress(self.read_bytes(f"evaluations/{identity}/{skill}-{split}.jsonl.gz")).splitlines()
        return [EpisodeRecord.model_validate_json(line) for line in lines]

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
