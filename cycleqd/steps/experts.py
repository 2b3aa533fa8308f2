"""The experts: their training data, their fine-tuning, their task vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Final

from cycleqd.experts import TrainingSummary
from cycleqd.experts.progress import lines_of
from cycleqd.experts.segmentation import train_segmenter
from cycleqd.experts.sources import Update, task_vectors
from cycleqd.models.side_by_side import share_of_threads
from cycleqd.run.genomes import add_individual, save_bases
from cycleqd.run.names import ALL_DATA, AVERAGE, SIMILARITY_KEY, TRAINING, expert_id, expert_key, regmean_id
from cycleqd.run.records import IndividualRecord
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.search.operators import mean
from cycleqd.search.similarity import similarity_matrix
from cycleqd.steps.fine_tuning import fine_tune, forget_state, shared_settings, state_of
from cycleqd.steps.regmean import regmean_shares
from cycleqd.steps.sources import update_of
from cycleqd.steps.spectral import spectral_vectors
from cycleqd.steps.training_data import pictures, training_data
from cycleqd.steps.truncation import forget_matrices, low_rank
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import DenseTaskVector, TaskVector
from cycleqd.telemetry.events import event

_DECOMPOSED: Final = 20_000_000
"""Numbers of a dense task vector, at most, whose singular values are worth their time."""


def train(ws: Workspace, skill: str, progress: Callable[..., None] | None = None) -> TrainingSummary:
    """Fine-tunes the expert of a skill."""
    settings = ws.config.experts
    if settings.side_by_side > 1:
        progress = progress or lines_of(skill)
    with share_of_threads(settings.side_by_side):
        return _fine_tune(
            ws,
            skill,
            [skill],
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
        skills,
        epochs=settings.epochs,
        max_length=max(settings.max_length_of(skill) for skill in skills),
        progress=progress,
    )


def _fine_tune(
    ws: Workspace,
    name: str,
    skills: Sequence[str],
    *,
    epochs: float,
    max_length: int,
    progress: Callable[..., None] | None,
) -> TrainingSummary:
    folder, summary = expert_key(name, "model"), expert_key(name, "summary.json")
    if ws.store.exists(summary):
        return _told(ws, name, ws.store.fields(TrainingSummary, summary))
    base, is_chat = ws.evaluator.base, ws.config.model.kind == "chat"
    conversations = [one for skill in skills for one in training_data(ws, skill)] if is_chat else []
    # Without its summary, a model is what a killed training left.
    with ws.training(), ws.store.writing(folder, replace=True) as out:
        if is_chat:
            result = fine_tune(
                ws,
                name,
                base,
                conversations,
                out,
                progress=progress,
                method=ws.config.experts.method,
                epochs=epochs,
                max_length=max_length,
                learning_rate=ws.config.experts.learning_rate,
                validation_fraction=ws.config.experts.validation_fraction,
            )
        else:
            learned = [one for skill in skills for one in pictures(ws, skill)]
            result = train_segmenter(
                base,
                learned,
                out,
                method=ws.config.experts.method,
                epochs=epochs,
                learning_rate=ws.config.experts.learning_rate,
                prompt=ws.config.segmentation.prompt,
                progress=progress,
                stop=ws.evaluator.stop,
                place=state_of(ws, name, TRAINING[0]),
                **shared_settings(ws, name),
            )
    ws.store.write_json(summary, result._asdict())
    forget_state(ws, name)
    event(
        "expert_trained",
        run=ws.config.run_id,
        skill=name,
        steps=result.steps,
        loss=result.loss_last,
        tokens=result.tokens,
        seconds=result.seconds,
    )
    return _told(ws, name, result)


def _told(ws: Workspace, name: str, summary: TrainingSummary) -> TrainingSummary:
    if ws.tracking:
        ws.tracking.trained(name, summary)
    return summary


def derive_experts(ws: Workspace, progress: Callable[[str, int, int], None] | None = None) -> list[IndividualRecord]:
    """Turns the experts, all of them, into task vectors of one form, and adds their plain average.

    The vectors are factored, on shared bases, where every expert is a change of low rank, or is truncated to one; else
    they are dense, or spectral where the configuration says so. Where
    the configuration asks for RegMean, each expert's share of it is an individual, too.

    Args:
        ws: The run.
        progress: Called while inputs are measured for RegMean; see `regmean_shares`.
    """
    skills = ws.config.skill_names
    wanted = [*map(expert_id, skills), AVERAGE, *(map(regmean_id, skills) if ws.config.uses_regmean else ())]
    if not all(ws.store.has_individual(identifier) for identifier in wanted):
        updates = {skill: low_rank(ws, skill, update_of(ws, skill)) for skill in skills}
        shares = regmean_shares(ws, updates, progress) if ws.config.uses_regmean else {}
        named = {regmean_id(skill): Update(factors) for skill, factors in shares.items()}
        bases, made = task_vectors({**updates, **named})
        vectors = {skill: made[skill] for skill in skills}
        if bases is not None:
            save_bases(ws.store, bases)
        elif ws.config.experts.spectral:
            vectors = spectral_vectors(ws, vectors)
        _write_similarities(ws, vectors)
        for skill, vector in vectors.items():
            add_individual(ws.store, vector, IndividualRecord(id=expert_id(skill), genome=""))
        k = len(skills)
        average = IndividualRecord(
            id=AVERAGE, genome="", parents=[expert_id(skill) for skill in skills], coefficients=[1 / k] * k
        )
        add_individual(ws.store, mean(list(vectors.values())), average)
        for identifier in named:
            add_individual(ws.store, made[identifier], IndividualRecord(id=identifier, genome=""))
        for skill in skills:
            forget_matrices(ws, skill)
    return [ws.store.individual(identifier) for identifier in wanted]


def derive_all_data(ws: Workspace) -> IndividualRecord:
    """Turns the model that was fine-tuned on all data into a task vector; its bases are its own."""
    if not ws.store.has_individual(ALL_DATA):
        trained = EXPERT_SOURCES.make("trained", ws.store.local(expert_key(ALL_DATA, "model")))
        update = low_rank(ws, ALL_DATA, trained.update(ws.evaluator.base_weights))
        bases, vectors = task_vectors({ALL_DATA: update})
        if bases is not None:
            save_bases(ws.store, bases, of=ALL_DATA)
        add_individual(ws.store, vectors[ALL_DATA], IndividualRecord(id=ALL_DATA, genome=""))
        forget_matrices(ws, ALL_DATA)
    return ws.store.individual(ALL_DATA)


def _write_similarities(ws: Workspace, vectors: Mapping[str, TaskVector]) -> None:
    """Writes down how alike the experts are; not of large dense ones: that takes longer than a search."""
    if any(isinstance(vector, DenseTaskVector) and _size(vector) > _DECOMPOSED for vector in vectors.values()):
        return
    matrix = similarity_matrix(list(vectors.values()))
    names = list(vectors)
    pairs = {
        f"{names[first]}, {names[second]}": float(matrix[first, second])
        for first, second in combinations(range(len(names)), 2)
    }
    ws.store.write_json(SIMILARITY_KEY, pairs, replace=True)


def _size(vector: TaskVector) -> int:
    return sum(prod(vector.shape(name)) for name in vector.names())
