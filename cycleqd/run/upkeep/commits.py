"""Holds a run against its commit records."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

from cycleqd.config import RunConfig
from cycleqd.run.names import (
    SEED_KEY,
    archives_key,
    commit_key,
    evaluation_key,
    genome_key,
    individual_key,
    pruned_key,
)
from cycleqd.run.records import EvaluationRecord, GenerationRecord, Score, SeedRecord
from cycleqd.run.replay import search_after_each, search_begun
from cycleqd.run.store import RunStore, StoreError
from cycleqd.run.upkeep.claims import claims_that_differ, impossible_in_generation, impossible_in_seed
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.search import Search
from cycleqd.skills.parts import Part
from cycleqd.storage import StorageRefused, StorageUnavailable

log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")

READERS = 16
"""Records read at a time: a bucket answers in tens of milliseconds, and a long run has thousands."""


class DamagedRun(StoreError):
    """A committed generation lacks something or disagrees with its record; the text says which, and how to go on."""


class Fault(NamedTuple):
    """Something that is not as a record says.

    Attributes:
        key: The object.
        kind: Whether it is not there or not right.
        text: What was expected and what came.
    """

    key: str
    kind: Literal["missing", "damaged"]
    text: str


def check_commits(store: RunStore, inventory: Inventory | None = None) -> None:
    """Checks that all committed generations are whole, and mends the archives that are derived from them.

    Reads the small records only; `verify` looks into the large objects too.

    Args:
        store: A run whose lease this process holds.
        inventory: The run's objects as of now; listed here unless given.

    Raises:
        DamagedRun: A committed generation is not whole.
    """
    inventory = inventory or Inventory(store)
    seed = store.seed()
    if seed is None:
        return
    if faults := faults_of_seed(store, seed, inventory):
        raise DamagedRun(
            f"run {store.run_id!r}: the seeding is damaged: {_listed(faults)}. Restore what is named from a copy. If "
            "there is none, start again under another run_id"
        )
    records = store.generations()
    found = in_parallel(lambda record: faults_of_generation(store, record, inventory), records)
    claims = faults_of_claims(store, seed, records)
    for number, faults in enumerate(found):
        if faults := [*(fault for fault in claims if fault.key == commit_key(number)), *faults]:
            raise DamagedRun(
                f"run {store.run_id!r}: generation {number} is damaged: {_listed(faults)}. Restore what "
                f"is named from a copy. Or remove {commit_key(number)} and all later files of that folder: those "
                "generations are then evolved again"
            )
    if stray := after_gap(inventory, len(records)):
        raise DamagedRun(
            f"run {store.run_id!r}: generation {len(records)} is missing, but later ones are committed: "
            f"{', '.join(stray[:3])}. Restore {commit_key(len(records))} from a copy, or remove the later "
            "ones: they are then evolved again"
        )
    stale = faults_of_archives(store, seed, records)
    for fault in stale:
        log.warning("run %s: %s is %s (%s); written again", store.run_id, fault.key, fault.kind, fault.text)
    mended = {fault.key for fault in stale}
    for generation, search in search_after_each(store, seed, records) if mended else ():
        if archives_key(generation) in mended:
            store.write_json(archives_key(generation), json.loads(search.archives.to_json()))


def faults_of_seed(store: RunStore, seed: SeedRecord, inventory: Inventory) -> list[Fault]:
    """What cannot be so in the seeding's record, and what it promises and the store lacks."""
    if impossible := list(impossible_in_seed(store.config(), seed)):
        return [Fault(SEED_KEY, "damaged", "; ".join(impossible))]
    faults = []
    for one in seed.scored:
        faults += _faults_of_individual(store, inventory, one, seed.genomes[one])
        faults += _faults_of_scores(store, seed.genomes[one], seed.scores[one], seed.part)
    return faults


def faults_of_generation(store: RunStore, record: GenerationRecord, inventory: Inventory) -> list[Fault]:
    """What a generation's record promises and the store lacks."""
    faults = _faults_of_individual(store, inventory, record.individual, record.genome)
    return faults + _faults_of_scores(store, record.genome, record.scores, record.part)


def faults_of_claims(store: RunStore, seed: SeedRecord, records: Sequence[GenerationRecord]) -> list[Fault]:
    """Commit records that cannot be so, or whose child does not win what they claim.

    Args:
        store: The run.
        seed: Its seeding, without faults.
        records: The generations in order, from the first one.
    """
    config: RunConfig = store.config()
    search: Search | None = search_begun(store, seed)
    faults = []
    committed: dict[int, int] = {}
    for number, record in enumerate(records):
        found = list(impossible_in_generation(config, record, number))
        if (before := committed.setdefault(record.index, number)) != number:
            found.append(f"its child is that of generation {before}")
        if found:
            search = None  # what the children after it win can no longer be told
        elif search is not None:
            found = list(claims_that_differ(search, record))
        if found:
            faults.append(Fault(commit_key(number), "damaged", "; ".join(found)))
    return faults


def faults_of_archives(store: RunStore, seed: SeedRecord, records: list[GenerationRecord]) -> list[Fault]:
    """Stored archives that are missing or are not what the records give."""

    def compare(expected: tuple[int, str]) -> Fault | None:
        key = archives_key(expected[0])
        if not store.exists(key):
            return Fault(key, "missing", "no archives are stored for this committed generation")
        try:
            same = store.read_json(key) == json.loads(expected[1])
        except StoreError as error:
            return Fault(key, "damaged", damage(error))
        return None if same else Fault(key, "damaged", "not the archives that the commit records give")

    rebuilt = ((number, search.archives.to_json()) for number, search in search_after_each(store, seed, records))
    return [fault for fault in in_parallel(compare, list(rebuilt)) if fault]


def after_gap(inventory: Inventory, finished: int) -> list[str]:
    """Commit records beyond the first missing one."""
    numbers = (key.rpartition("/")[2].removesuffix(".json") for key in inventory.under("generations"))
    return [commit_key(int(number)) for number in numbers if number.isdigit() and int(number) >= finished]


def in_parallel(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """The function's results over `items`, in their order."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="check") as pool:
        return list(pool.map(function, items))


def _faults_of_individual(store: RunStore, inventory: Inventory, identifier: str, genome: str) -> list[Fault]:
    key = individual_key(identifier)
    if key not in inventory:
        return [Fault(key, "missing", "the recipe of a committed individual")]
    faults = []
    try:
        if (found := store.individual(identifier).genome) != genome:
            faults.append(Fault(key, "damaged", f"genome {found[:12]}, the commit record says {genome[:12]}"))
    except StoreError as error:
        faults.append(Fault(key, "damaged", damage(error)))
    if genome_key(identifier) not in inventory and pruned_key(identifier) not in inventory:
        faults.append(Fault(genome_key(identifier), "missing", "the genome of a committed individual, not pruned"))
    return faults


def _faults_of_scores(store: RunStore, genome: str, scores: dict[str, Score], part: Part) -> list[Fault]:
    faults = []
    for skill, score in scores.items():
        key = evaluation_key(genome, skill, part)
        try:
            record = store.evaluation(genome, skill, part)
        except StoreError as error:
            faults.append(Fault(key, "damaged", damage(error)))
            continue
        if record is None:
            faults.append(Fault(key, "missing", "an evaluation of a committed individual"))
        elif record.score != score:
            faults.append(
                Fault(key, "damaged", f"score {record.score.score:.4f}, the commit record says {score.score:.4f}")
            )
        elif not is_mean_of_samples(record):
            faults.append(Fault(key, "damaged", "its score is not the mean of its samples"))
    return faults


def is_mean_of_samples(record: EvaluationRecord) -> bool:
    """Whether an evaluation's score is what its samples' scores give."""
    try:
        return Score.of([sample.score for sample in record.samples]) == record.score
    except ValueError:  # no samples, or impossible scores
        return False


def _listed(faults: list[Fault]) -> str:
    shown = "; ".join(f"{fault.key} is {fault.kind} ({fault.text})" for fault in faults[:3])
    return shown + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")


def damage(error: Exception) -> str:
    """What a failed reading says about the object, in one line.

    Raises:
        StorageUnavailable: It says nothing about the object, as the store did not answer.
        StorageRefused: Likewise.
    """
    if isinstance(error, StorageUnavailable | StorageRefused):
        raise error
    return " ".join(str(error).split())[:200] or type(error).__name__
