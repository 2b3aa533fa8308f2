"""Retention: removes the genomes of individuals that nothing needs any more.

Most archives never take back an individual that they let go, so a genome that no archive holds is not read again by
the search. Where a search fills them anew (`takes_back`), no genome goes. What stays, whatever the policy: every
recipe, score and commit record (lineage, reports and resuming live on them), and the genomes of the experts, their
average, the archives' individuals, the aggregate and its parents, and a child that is not committed yet. A tombstone,
``individuals/<id>/pruned.json``, is written before anything is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cycleqd.config import RetentionPolicy
from cycleqd.run.names import genome_key, pruned_key
from cycleqd.run.records import IndividualRecord, Record
from cycleqd.run.replay import search_after_all
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.search.in_flight import InFlight
from cycleqd.search.protocol import takes_back
from cycleqd.storage import SUFFIX

PRUNE_INTERVAL = 20
"""Generations between two prunings: listing a bucket takes seconds, so not after each."""

log = logging.getLogger(__name__)


class Pruned(Record):
    """The tombstone of a genome.

    Attributes:
        id: The individual, whose recipe stays.
        genome: Content hash of what was removed.
        policy: Why it was removed.
        episodes: Whether its transcripts were removed too; its scores per sample stay.
        at: ISO 8601 time, UTC.
    """

    id: str
    genome: str
    policy: str
    episodes: bool
    at: str


class Doomed(NamedTuple):
    """An individual whose genome may go.

    Attributes:
        record: Its recipe.
        keys: The objects to be removed.
        size: Their bytes, checksums included.
    """

    record: IndividualRecord
    keys: list[str]
    size: int


def plan_pruning(store: RunStore, policy: RetentionPolicy, *, every: int = 10, episodes: bool = False) -> list[Doomed]:
    """What a policy would remove, by id; removes nothing.

    Args:
        store: The run.
        policy: ``keep-all`` removes nothing; ``keep-elites`` keeps only what is needed; ``keep-every-n`` also keeps
            the children of generations 0, n, 2n, ...
        every: That n, at least 1.
        episodes: Whether the transcripts go with the genomes.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    if policy == "keep-all":
        return []
    individuals, committed = store.individuals(), {record.individual for record in store.generations()}
    needed = _needed(store)

    def stays(record: IndividualRecord) -> bool:
        if record.id not in committed or record.id in needed or record.generation is None:
            return True
        return policy == "keep-every-n" and record.generation % every == 0

    # Two individuals may have the same weights, and share their evaluations then.
    shared = {record.genome for record in individuals if stays(record)}
    inventory = Inventory(store)
    plan = []
    for record in individuals:
        if stays(record):
            continue
        keys = [genome_key(record.id)]
        if episodes and record.genome not in shared:
            keys += [key for key in inventory.under(f"evaluations/{record.genome}") if key.endswith(".jsonl.gz")]
        keys = [key for key in keys if key in inventory]
        size = sum(inventory.sizes[key] + inventory.sizes.get(f"{key}{SUFFIX}", 0) for key in keys)
        if keys:
            plan.append(Doomed(record, keys, size))
    return plan


def prune(store: RunStore, plan: Sequence[Doomed], policy: RetentionPolicy) -> int:
    """Carries a plan out; returns the bytes freed. Killed half-way it may simply be repeated.

    Args:
        store: A run whose lease this process holds.
        plan: From `plan_pruning`.
        policy: The plan's policy, for the tombstones.
    """
    inventory = Inventory(store)
    freed = 0
    for record, keys, _ in plan:
        episodes = any(key.endswith(".jsonl.gz") for key in keys)
        if pruned_key(record.id) not in inventory or episodes:
            tombstone = Pruned(
                id=record.id,
                genome=record.genome,
                policy=policy,
                episodes=episodes,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            store.write_json(pruned_key(record.id), tombstone.model_dump(mode="json"), replace=True)
        freed += inventory.remove(keys)
    if plan:
        log.info("run %s: pruned %d genomes (%s), %.1f MB", store.run_id, len(plan), policy, freed / 1e6)
    return freed


def read_tombstone(store: RunStore, identifier: str) -> Pruned:
    """What an individual's pruning left."""
    return store.record(Pruned, pruned_key(identifier))


def _needed(store: RunStore) -> set[str]:
    """Ids of the individuals whose genomes the search, the final model or a report may read again."""
    seed = store.seed()
    if seed is None:
        return {record.id for record in store.individuals()}
    search, records = search_after_all(store, seed), store.generations()
    archives = search.archives
    needed = {one.id for skill in archives.skills for one in archives[skill].occupants()} | set(seed.offered)
    if records:
        needed |= set(search.answer().parents)
    if isinstance(search, InFlight):  # a run that is prolonged goes on with what it had proposed
        needed |= {parent for recipe in search.pending for parent in recipe.parents}
    children = {record.individual for record in records}
    if takes_back(search):
        needed |= children
    for individual in store.individuals():
        if individual.id not in children:  # experts, baselines, the final model, a child that is not committed yet
            needed |= {individual.id, *individual.parents}
    return needed
