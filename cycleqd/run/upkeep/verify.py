"""Looks at every object of a run: checksums, genomes, evaluations, records, archives, the exported model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from cycleqd.config import ConfigError
from cycleqd.run.names import (
    EXPORT_KEY,
    SEED_KEY,
    commit_key,
    episodes_key,
    evaluation_name,
    final_key,
    genome_key,
    individual_key,
)
from cycleqd.run.records import EvaluationRecord, GenerationRecord, IndividualRecord, SessionRecord
from cycleqd.run.store import RunStore, StoreError
from cycleqd.run.upkeep.commits import (
    Fault,
    after_gap,
    damage,
    faults_of_archives,
    faults_of_claims,
    faults_of_generation,
    faults_of_seed,
    in_parallel,
    is_mean_of_samples,
)
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.prune import Pruned, read_tombstone
from cycleqd.run.upkeep.sweep import leftovers
from cycleqd.storage import SUFFIX, is_mutable

S = TypeVar("S")
T = TypeVar("T")


class Watcher(Protocol):
    """Is told how far a verification is; may be called from several threads."""

    def stage(self, what: str, total: int) -> None:
        """`total` objects of a kind are looked at next."""

    def advance(self) -> None:
        """One of them was looked at."""


class _Nobody:
    def stage(self, what: str, total: int) -> None:
        pass

    def advance(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what was found.

    Attributes:
        objects: Objects in the run's folder.
        checksummed: Objects whose content was held against a checksum.
        individuals: Individuals.
        pruned: Individuals whose genome was pruned.
        evaluations: Finished evaluations.
        generations: Committed generations.
        leftovers: Half-written objects by key, each with the reason; harmless, the next start removes them.
        faults: What is missing or damaged.
    """

    objects: int
    checksummed: int
    individuals: int
    pruned: int
    evaluations: int
    generations: int
    leftovers: dict[str, str]
    faults: list[Fault]


def verify(store: RunStore, watcher: Watcher | None = None) -> Verification:
    """Checks every hash and every record of a run; reads all of it and changes nothing.

    A run that is being written to is verified as it was when its folder was listed; what was under way at that
    moment may show up among the leftovers.

    Args:
        store: The run.
        watcher: Who wants to know how far it is.

    Raises:
        StoreError: The run has no readable configuration.
    """
    try:
        store.config()
    except ConfigError as error:
        raise StoreError(str(error)) from None
    watcher = watcher or _Nobody()
    inventory = Inventory(store)
    known = leftovers(inventory.sizes)
    checksummed = [key.removesuffix(SUFFIX) for key in inventory.sizes if key.endswith(SUFFIX) and key not in known]
    watcher.stage("checksums", len(checksummed))
    checked = in_parallel(_watched(lambda key: _checksum_fault(store, key), watcher), checksummed)
    faults = [fault for fault in checked if fault]
    faults += _without_checksum(inventory, set(checksummed), known)
    tombstones = _tombstones(store, inventory, faults)
    individuals = _individuals(store, inventory, faults)
    watcher.stage("genomes", len(individuals))
    for record in individuals:
        faults += _individual_faults(store, record, inventory, tombstones)
        watcher.advance()
    names = [key for key in inventory.under("evaluations") if key.endswith(".json")]
    without = {tombstone.genome for tombstone in tombstones.values() if tombstone.episodes}
    watcher.stage("evaluations", len(names))
    for found in in_parallel(_watched(lambda key: _evaluation_faults(store, key, inventory, without), watcher), names):
        faults += found
    generations = _commits(store, inventory, faults, watcher)
    faults += _export_faults(store, inventory)
    faults += _session_faults(store, inventory)
    unique = {(fault.key, fault.kind): fault for fault in reversed(faults)}  # the first word on each object
    return Verification(
        objects=sum(not key.endswith(SUFFIX) for key in inventory.sizes),
        checksummed=len(checksummed),
        individuals=len(individuals),
        pruned=len(tombstones),
        evaluations=len(names),
        generations=generations,
        leftovers=known,
        faults=sorted(unique.values()),
    )


def _session_faults(store: RunStore, inventory: Inventory) -> Iterator[Fault]:
    for key in inventory.under("sessions"):
        try:
            store.record(SessionRecord, key)
        except StoreError as error:
            yield Fault(key, "damaged", damage(error))


def _watched(look: Callable[[S], T], watcher: Watcher) -> Callable[[S], T]:
    def looked(item: S) -> T:
        try:
            return look(item)
        finally:
            watcher.advance()

    return looked


def _checksum_fault(store: RunStore, key: str) -> Fault | None:
    try:
        store.verify(key)
    except StoreError as error:
        return Fault(key, "damaged", damage(error))
    return None


def _without_checksum(inventory: Inventory, checksummed: Set[str], known: Mapping[str, str]) -> Iterator[Fault]:
    for key in inventory.sizes:
        if key.endswith(SUFFIX) or key in known or is_mutable(key):
            continue
        folders = {key[:end] for end in range(len(key)) if key[end] == "/"}
        if key not in checksummed and not folders & checksummed:
            yield Fault(key, "damaged", "it has no checksum")


def _tombstones(store: RunStore, inventory: Inventory, faults: list[Fault]) -> dict[str, Pruned]:
    """The readable tombstones by the individual's id; adds faults of the others."""
    found = {}
    for key in inventory.under("individuals"):
        if key.endswith("/pruned.json"):
            try:
                tombstone = read_tombstone(store, key.split("/")[1])
            except StoreError as error:
                faults.append(Fault(key, "damaged", damage(error)))
            else:
                found[tombstone.id] = tombstone
    return found


def _individuals(store: RunStore, inventory: Inventory, faults: list[Fault]) -> list[IndividualRecord]:
    """The readable recipes; adds faults of the others."""
    records = []
    for key in inventory.under("individuals"):
        if not key.endswith("/individual.json"):
            continue
        name = key.split("/")[1]
        try:
            record = store.individual(name)
        except StoreError as error:
            faults.append(Fault(key, "damaged", damage(error)))
            continue
        if record.id != name:
            faults.append(Fault(key, "damaged", f"it is the recipe of {record.id}"))
        records.append(record)
    return records


def _individual_faults(
    store: RunStore, record: IndividualRecord, inventory: Inventory, tombstones: dict[str, Pruned]
) -> Iterator[Fault]:
    from cycleqd.run.genomes import task_vector  # torch, which no other command of upkeep needs

    for parent in record.parents:
        if individual_key(parent) not in inventory:
            yield Fault(individual_key(parent), "missing", f"a parent of {record.id}")
    key = genome_key(record.id)
    if key not in inventory:
        if record.id not in tombstones:
            yield Fault(key, "missing", "the genome of an individual that was not pruned")
        return
    try:
        found = task_vector(store, record.id).hash()
    except Exception as error:  # whatever a damaged file makes of its reader
        yield Fault(key, "damaged", damage(error))
        return
    if found != record.genome:
        yield Fault(key, "damaged", f"content hash {found[:12]}, the recipe says {record.genome[:12]}")


def _evaluation_faults(store: RunStore, key: str, inventory: Inventory, without_episodes: set[str]) -> list[Fault]:
    name = evaluation_name(key)
    if name is None:
        return [Fault(key, "damaged", "its name contains no split")]
    try:
        record = store.record(EvaluationRecord, key)
    except StoreError as error:
        return [Fault(key, "damaged", damage(error))]
    faults = []
    if (record.genome, record.skill, record.split) != name:
        faults.append(Fault(key, "damaged", f"it is of {record.genome[:12]}, {record.skill}, {record.split}"))
    if not is_mean_of_samples(record):
        faults.append(Fault(key, "damaged", "its score is not the mean of its samples"))
    episodes = episodes_key(*name)
    if episodes not in inventory:
        if name.genome not in without_episodes:
            faults.append(Fault(episodes, "missing", "the episodes of a finished evaluation"))
        return faults
    try:
        played = [(episode.sample, episode.score) for episode in store.episodes(*name)]
    except StoreError as error:
        return [*faults, Fault(episodes, "damaged", damage(error))]
    if played != [(sample.id, sample.score) for sample in record.samples]:
        faults.append(Fault(episodes, "damaged", "its episodes are not the record's samples"))
    return faults


def _commits(store: RunStore, inventory: Inventory, faults: list[Fault], watcher: Watcher) -> int:
    """Adds the faults of seeding, generations and archives; returns the number of generations."""
    seed = _read(SEED_KEY, store.seed, faults)
    records: list[GenerationRecord] = []
    unreadable = False
    while (key := commit_key(len(records))) in inventory and not unreadable:
        record = _read(key, partial(store.record, GenerationRecord, key), faults)
        unreadable = record is None
        records += [record] if record else []
    later = len(records) + unreadable
    for key in after_gap(inventory, later):
        _read(key, partial(store.record, GenerationRecord, key), faults)
    if not unreadable and (stray := after_gap(inventory, len(records))):
        faults.append(Fault(commit_key(len(records)), "missing", f"later ones exist: {', '.join(stray[:3])}"))
    watcher.stage("generations", len(records))

    def look(record: GenerationRecord) -> list[Fault]:
        return faults_of_generation(store, record, inventory)

    for found in in_parallel(_watched(look, watcher), records):
        faults += found
    if seed is None:
        if records and SEED_KEY not in inventory:
            faults.append(Fault(SEED_KEY, "missing", "generations are committed without a seeding"))
        return len(records)
    if seeding := faults_of_seed(store, seed, inventory):
        faults += seeding
        if any(fault.key == SEED_KEY for fault in seeding):
            return len(records)
    if claims := faults_of_claims(store, seed, records):
        faults += claims
        return len(records)  # what archives such records give says nothing
    watcher.stage("archives", 0)
    faults += faults_of_archives(store, seed, records)
    return len(records)


def _read(key: str, read: Callable[[], T], faults: list[Fault]) -> T | None:
    """What `read` gives; a fault of the object `key` where that fails."""
    try:
        return read()
    except StoreError as error:
        faults.append(Fault(key, "damaged", damage(error)))
        return None


def _export_faults(store: RunStore, inventory: Inventory) -> Iterator[Fault]:
    """Models that ``aggregate/export.json`` promises; that of an earlier aggregate is old, not damaged."""
    key = EXPORT_KEY
    try:
        record = store.export()
    except StoreError as error:
        yield Fault(key, "damaged", damage(error))
        return
    if record is None:
        return
    for folder in (final_key(name) for name in record.formats):
        # One that lacks some of its files is not what its checksums say, which was told already.
        if f"{folder}{SUFFIX}" not in inventory or not inventory.under(folder):
            yield Fault(folder, "missing", f"{key} says that {record.individual} was exported")
