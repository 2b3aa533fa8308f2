"""The experts: their training data, their fine-tuning, their task vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from cycleqd.experts import Conversation, TrainingSummary, train_expert
from cycleqd.experts.data import TrainingDataUnavailable, prepare_skill
from cycleqd.experts.sources import task_vectors
from cycleqd.randomness import rng
from cycleqd.run.genomes import add_individual, save_bases
from cycleqd.run.names import ALL_DATA, AVERAGE, SIMILARITY_KEY, expert_id, expert_key
from cycleqd.run.records import IndividualRecord
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.search.operators import mean
from cycleqd.search.similarity import similarity_matrix
from cycleqd.skills.oracle import demonstrations
from cycleqd.skills.protocol import Message
from cycleqd.steps.sources import update_of
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import FactoredTaskVector, TaskVector
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)


def gold_episodes(ws: Workspace, skill: str) -> list[list[Message]]:
    """The expert's training conversations: gold episodes played through the real sandboxes."""
    key = expert_key(skill, "demonstrations.json")
    if not ws.store.exists(key):
        with ws.clock.measuring("train"):
            samples = ws.evaluator.skills[skill].samples("train")
            log.info("recording %d gold episodes of %s", len(samples), skill)
            ws.store.write_json(key, demonstrations(ws.evaluator.skills[skill], samples, ws.evaluator.sandboxes))
    conversations: list[list[Message]] = ws.store.read_json(key)
    return conversations


def training_data(ws: Workspace, skill: str) -> Sequence[Conversation]:
    """What the expert of a skill learns from: the data sets that the configuration names, else gold episodes.

    Raises:
        TrainingDataUnavailable: A data set cannot be had, or has changed since this run read it.
    """
    data = ws.config.experts.data_of(skill)
    if data is None:
        return gold_episodes(ws, skill)
    key = expert_key(skill, "data.json")
    with ws.clock.measuring("train"):
        prepared = prepare_skill(ws.config, skill, ws.evaluator.skills.values())
    if ws.store.exists(key) and (before := ws.store.read_json(key)["hash"]) != prepared.report.hash:
        raise TrainingDataUnavailable(
            f"the training data of {skill} has changed since this run read it (was {before[:12]}, now "
            f"{prepared.report.hash[:12]}): restore it, or start a run of another name"
        )
    if not ws.store.exists(key):
        ws.store.write_json(key, prepared.report.model_dump(mode="json"))
    return prepared.conversations


def gather_training_data(ws: Workspace, skill: str) -> int:
    """Makes sure that the expert's training data is there; returns the number of conversations."""
    key = expert_key(skill, "data.json")
    if ws.store.exists(key):
        return int(ws.store.read_json(key)["conversations"])
    return len(training_data(ws, skill))


def train(ws: Workspace, skill: str, progress: Callable[..., None] | None = None) -> TrainingSummary:
    """Fine-tunes the expert of a skill."""
    settings = ws.config.experts
    return _fine_tune(
        ws,
        skill,
        lambda: training_data(ws, skill),
        epochs=settings.epochs_of(skill),
        max_length=settings.max_length_of(skill),
        progress=progress,
    )


def train_on_all_data(ws: Workspace, progress: Callable[..., None] | None = None) -> TrainingSummary:
    """Fine-tunes one model on the experts' data together (CycleQD, Table 1, "fine-tuning on all data")."""
    settings, skills = ws.config.experts, ws.config.skill_names
    return _fine_tune(
        ws,
        ALL_DATA,
        lambda: [conversation for skill in skills for conversation in training_data(ws, skill)],
        epochs=settings.epochs,
        max_length=max(settings.max_length_of(skill) for skill in skills),
        progress=progress,
    )


def _fine_tune(
    ws: Workspace,
    name: str,
    conversations: Callable[[], Sequence[Conversation]],
    *,
    epochs: float,
    max_length: int,
    progress: Callable[..., None] | None,
) -> TrainingSummary:
    folder, summary = expert_key(name, "model"), expert_key(name, "summary.json")
    if ws.store.exists(summary):
        return ws.store.fields(TrainingSummary, summary)
    learned, settings = conversations(), ws.config.experts
    # Without its summary, a model is what a killed training left.
    with ws.clock.measuring("train"), ws.store.writing(folder, replace=True) as out:
        result = train_expert(
            ws.evaluator.base,
            learned,
            out,
            method=settings.method,
            rank=settings.rank,
            alpha=settings.alpha,
            epochs=epochs,
            learning_rate=settings.learning_rate,
            global_batch=settings.global_batch,
            micro_batch=settings.micro_batch,
            max_length=max_length,
            packing=settings.packing,
            warmup_fraction=settings.warmup_fraction,
            max_grad_norm=settings.max_grad_norm,
            weight_decay=settings.weight_decay,
            validation_fraction=settings.validation_fraction,
            dtype=ws.config.model.dtype,
            date=ws.config.model.date,
            seed=int(rng(ws.config.seed, 0, f"train {name}").integers(2**31)),
            progress=progress,
            stop=ws.evaluator.stop,
        )
    ws.store.write_json(summary, result._asdict())
    event(
        "expert_trained",
        run=ws.config.run_id,
        skill=name,
        steps=result.steps,
        loss=result.loss_last,
        tokens=result.tokens,
        seconds=result.seconds,
    )
    return result


def derive_experts(ws: Workspace) -> list[IndividualRecord]:
    """Turns the experts, all of them, into task vectors of one form, and adds their plain average.

    The vectors are factored, on shared bases, where every expert is a change of low rank; else they are dense.
    """
    skills = ws.config.skill_names
    wanted = [*map(expert_id, skills), AVERAGE]
    if not all(ws.store.has_individual(identifier) for identifier in wanted):
        bases, vectors = task_vectors({skill: update_of(ws, skill) for skill in skills})
        if bases is not None:
            save_bases(ws.store, bases)
        _write_similarities(ws, vectors)
        for skill, vector in vectors.items():
            add_individual(ws.store, vector, IndividualRecord(id=expert_id(skill), genome=""))
        k = len(skills)
        average = IndividualRecord(
            id=AVERAGE, genome="", parents=[expert_id(skill) for skill in skills], coefficients=[1 / k] * k
        )
        add_individual(ws.store, mean(list(vectors.values())), average)
    return [ws.store.individual(identifier) for identifier in wanted]


def derive_all_data(ws: Workspace) -> IndividualRecord:
    """Turns the model that was fine-tuned on all data into a task vector; its bases are its own."""
    if not ws.store.has_individual(ALL_DATA):
        trained = EXPERT_SOURCES.make("trained", ws.store.local(expert_key(ALL_DATA, "model")))
        bases, vectors = task_vectors({ALL_DATA: trained.update(ws.evaluator.base_weights)})
        if bases is not None:
            save_bases(ws.store, bases, of=ALL_DATA)
        add_individual(ws.store, vectors[ALL_DATA], IndividualRecord(id=ALL_DATA, genome=""))
    return ws.store.individual(ALL_DATA)


def _write_similarities(ws: Workspace, vectors: Mapping[str, TaskVector]) -> None:
    """Writes down how alike the experts are; not of dense ones, whose decomposition takes longer than a search."""
    if not all(isinstance(vector, FactoredTaskVector) for vector in vectors.values()):
        return
    matrix = similarity_matrix(list(vectors.values()))
    names = list(vectors)
    pairs = {
        f"{names[first]}, {names[second]}": float(matrix[first, second])
        for first, second in combinations(range(len(names)), 2)
    }
    ws.store.write_json(SIMILARITY_KEY, pairs, replace=True)
