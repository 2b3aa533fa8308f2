"""A whole search on small real task vectors: everything is real but the engine, whose scores are drawn by weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cycleqd import steps
from cycleqd.run.genomes import add_individual, save_bases
from cycleqd.run.names import expert_id
from cycleqd.run.records import GenerationRecord, IndividualRecord, Phases
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import build_bases
from tests.report.synthetic import configuration, evaluate
from tests.toy_experts import SKILLS, lora_factors

LUCK = 4
"""Chosen so that a dozen generations displace someone."""


def begin(storage: str, run_id: str = "toy", generations: int = 12, **changes: object) -> RunStore:
    """A seeded run; `changes` are sections of its configuration."""
    store = RunStore(storage, run_id)
    config = configuration(storage, SKILLS, run_id=run_id, generations=generations)
    store.open(config.model_copy(update=changes))
    ws = Workspace(store)
    bases, experts = build_bases(lora_factors(0))
    save_bases(store, bases)
    for skill, vector in experts.items():
        record = add_individual(store, vector, IndividualRecord(id=expert_id(skill), genome=""))
        score(store, record, steps.first_part(ws))
    steps.seed_archives(ws)
    return store


def score(store: RunStore, record: IndividualRecord, part: str = "optimization") -> None:
    """Evaluates an individual as often as it was asked for; the same individual always gets the same scores.

    They come from its id: weights, and with them their hash, differ between processors in the last bit.
    """
    seed = int.from_bytes(hashlib.sha256(f"{LUCK} {record.id}".encode()).digest()[:8], "big")
    abilities = dict(zip(SKILLS, np.random.default_rng(seed).uniform(0.2, 0.8, len(SKILLS)), strict=True))
    for skill in SKILLS:
        if store.evaluation(record.genome, skill, part) is None:
            evaluate(store, record.genome, abilities, skill, part)


def evolve(store: RunStore, until: int) -> Workspace:
    """Goes on from the last committed generation, as a new process would."""
    ws = Workspace(store)
    steps.rebuild_search(ws)
    for generation in range(len(store.generations()), until):
        score(store, steps.breed(ws, generation), steps.asked(ws, generation)[1])
        commit(ws, generation)
    return ws


def commit(ws: Workspace, generation: int) -> GenerationRecord:
    """Commits a generation whose child is scored."""
    return steps.commit(ws, generation, steps.scores_of(ws, *steps.asked(ws, generation)), Phases())


def forge(path: Path, content: str | bytes) -> None:
    """Replaces an object and its checksum, as a faulty program would that writes what is wrong, but writes it well."""
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    sidecar = path.with_name(f"{path.name}.sha256")
    if sidecar.exists():
        sidecar.write_text(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")


def remove(path: Path) -> None:
    """Removes an object and its checksum."""
    path.unlink()
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
