"""The last step: the search's answer is fine-tuned on the episodes that the search solved.

Rejection sampling (Yuan et al. 2023, https://arxiv.org/abs/2308.01825): what a model did right is what it, or another,
learns from. Here the children of a search are many different models that met the same samples, so that together they
solve more than any of them. The search has paid for these episodes already; its archives use a number of each.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch

from cycleqd.experts.conversations import TooLong
from cycleqd.experts.sources import Update, task_vectors
from cycleqd.experts.sources.forms import product
from cycleqd.models.hardware import with_dtype
from cycleqd.run.genomes import add_individual, keep_bases, save_bases, task_vector
from cycleqd.run.names import (
    AGGREGATE,
    MERGED,
    REFINED,
    episodes_key,
    expert_key,
    individual_key,
    own_bases_key,
)
from cycleqd.run.records import EpisodeRecord, IndividualRecord
from cycleqd.run.store import RunStore
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.skills.parts import Part
from cycleqd.skills.protocol import Message
from cycleqd.steps.export import save_checkpoint
from cycleqd.steps.fine_tuning import fine_tune, forget_state
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector, LoraFactors, TaskVector
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)

REFINEMENT: Final = "refinement"
"""The kind of mutation that the final model's recipe has."""


class Solved(NamedTuple):
    """An episode that ended right.

    Attributes:
        skill: Its skill.
        episode: The episode.
    """

    skill: str
    episode: EpisodeRecord


def solved_episodes(store: RunStore) -> list[Solved]:
    """One solved episode of every optimization sample that anybody solved, in the order of skills and samples.

    Of several the one with the fewest messages is taken, then the one with the fewest characters, then the earliest.
    Transcripts that were pruned are not there.
    """
    best: dict[tuple[str, str], EpisodeRecord] = {}
    for skill, episode in _episodes(store):
        known = best.get((skill, episode.sample))
        if episode.score >= 1 and (known is None or _length(episode) < _length(known)):
            best[skill, episode.sample] = episode
    return [Solved(skill, best[skill, sample]) for skill, sample in sorted(best)]


def _episodes(store: RunStore) -> Iterator[tuple[str, EpisodeRecord]]:
    """All episodes on the optimization split that were scored for the search, in the order of their scoring."""
    seed, seen = store.seed(), set()
    scored: list[tuple[str, Part]] = [(genome, seed.part) for genome in seed.genomes.values()] if seed else []
    scored += [(record.genome, record.part) for record in store.generations()]
    for genome, part in scored:
        for skill in store.config().skill_names:
            if (genome, part, skill) not in seen and store.exists(episodes_key(genome, skill, part)):
                seen.add((genome, part, skill))
                yield from ((skill, episode) for episode in store.episodes(genome, skill, part))


def _length(episode: EpisodeRecord) -> tuple[int, int]:
    return len(episode.messages), sum(len(message["content"]) for message in episode.messages)


def conversations_of(episode: EpisodeRecord) -> list[list[Message]]:
    """What is learned from an episode: itself, or each turn as it was asked where that is another conversation."""
    if episode.asked is None:
        return [episode.messages]
    replies = [message for message in episode.messages if message["role"] == "assistant"]
    return [[*asked, reply] for asked, reply in zip(episode.asked, replies, strict=False)]


def refine(ws: Workspace, progress: Callable[..., None] | None = None) -> IndividualRecord:
    """Makes the final model of the search's answer, which `aggregate` has made.

    Args:
        ws: The run, with ``refinement.epochs`` above 0.
        progress: Called after each step of the training.

    Raises:
        TrainingStopped: The run is being stopped. The training's state is kept, and it goes on from there.
    """
    settings, answer = ws.config.refinement, ws.store.individual(MERGED)
    made: dict[str, float | int | str] = {
        "kind": REFINEMENT,
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "of": answer.genome,
    }
    if ws.store.has_individual(AGGREGATE):
        record = ws.store.individual(AGGREGATE)
        # The episodes follow from the rest: no need to read thousands of them again.
        if record.generation == answer.generation and record.mutation.items() >= made.items():
            return record
    solved = solved_episodes(ws.store)
    vector, learned = task_vector(ws.store, MERGED), None
    if solved:
        try:
            # Before the first child the generation is -1.
            learned = _learned(ws, vector, solved, max(0, answer.generation or 0), progress)
        except TooLong as fault:
            log.warning("run %s: the final model learns nothing more: %s", ws.store.run_id, fault)
    else:
        log.warning("run %s: nobody solved anything, so the final model learns nothing more", ws.store.run_id)
    ws.store.remove(individual_key(AGGREGATE))  # only now, and before its bases are another's
    if learned is None:
        keep_bases(ws.store, MERGED, AGGREGATE)
    else:
        vector = _sum(ws, vector, learned)
    record = IndividualRecord(
        id=AGGREGATE,
        genome="",
        generation=answer.generation,
        parents=[MERGED],
        coefficients=[1.0],
        mutation={**made, "episodes": len(solved) if learned is not None else 0},
    )
    return add_individual(ws.store, vector, record)


def _learned(
    ws: Workspace, vector: TaskVector, solved: list[Solved], draw: int, progress: Callable[..., None] | None
) -> Mapping[str, LoraFactors]:
    """What the model of a task vector learns from the episodes, as factors by parameter name."""
    experts, base = ws.config.experts, ws.evaluator.base
    with ws.training(), tempfile.TemporaryDirectory(prefix="cycleqd-") as folder:
        merged, out = Path(folder) / "merged", Path(folder) / "refined"
        merged.mkdir()
        # With the numbers of an earlier refinement, the state of this one would be taken for a leftover.
        ws.store.remove(expert_key(REFINED, "summary.json"))
        save_checkpoint(base, vector, with_dtype(ws.config).model.dtype, merged)  # as it was scored
        result = fine_tune(
            ws,
            REFINED,
            merged,
            [conversation for one in solved for conversation in conversations_of(one.episode)],
            out,
            progress=progress,
            draw=draw,
            method="lora",
            epochs=ws.config.refinement.epochs,
            learning_rate=ws.config.refinement.learning_rate,
            max_length=max(experts.max_length_of(skill) for skill in ws.config.skill_names),
        )
        update = EXPERT_SOURCES.make("trained", out).update(ws.evaluator.base_weights)
    ws.store.write_json(expert_key(REFINED, "summary.json"), result._asdict(), replace=True)
    forget_state(ws, REFINED)
    if ws.tracking:
        ws.tracking.trained(REFINED, result)
    event("refined", run=ws.config.run_id, episodes=len(solved), steps=result.steps, seconds=result.seconds)
    learned: Mapping[str, LoraFactors] = update.factors
    return learned


def _sum(ws: Workspace, vector: TaskVector, factors: Mapping[str, LoraFactors]) -> TaskVector:
    """The final model's task vector; its bases are saved."""
    if isinstance(vector, FactoredTaskVector) and not vector.noise:
        bases, made = task_vectors({AGGREGATE: Update(_joined(vector, factors))})
        if bases is not None:
            save_bases(ws.store, bases, of=AGGREGATE)
        return made[AGGREGATE]
    ws.store.remove(own_bases_key(AGGREGATE))
    return _dense_sum(vector, factors)


def _joined(vector: FactoredTaskVector, factors: Mapping[str, LoraFactors]) -> dict[str, LoraFactors]:
    """Low-rank factors of the sum of a factored vector and an update, parameter by parameter."""
    joined = {}
    for name in vector.names():
        a, b = vector.bases.right(name).T, vector.bases.left(name) @ vector.core(name)
        if name in factors:
            more_a, more_b, scale = factors[name]
            a, b = torch.cat([a, more_a.float()]), torch.cat([b, scale * more_b.float()], dim=1)
        joined[name] = LoraFactors(a.contiguous(), b.contiguous(), 1.0)
    return joined | {name: one for name, one in factors.items() if name not in joined}


def _dense_sum(vector: TaskVector, factors: Mapping[str, LoraFactors]) -> DenseTaskVector:
    covered = frozenset(vector.names())
    shapes = {name: (one.b.shape[0], one.a.shape[1]) for name, one in factors.items()}

    def delta(name: str) -> torch.Tensor:
        own = vector.delta(name) if name in covered else torch.zeros(shapes[name])
        return own + product(factors[name]) if name in factors else own

    return DenseTaskVector({**shapes, **{name: vector.shape(name) for name in covered}}, delta)
