"""The steps of a run, each idempotent: what is already in the store is not done again.

A step takes the workspace and references, leaves its result in the store and returns a small record. Prefect's tasks
wrap these functions one to one; a plain loop over them is a whole run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from cycleqd.base_model import BaseWeights
from cycleqd.baselines import choices
from cycleqd.evaluation.play import evaluate, requests_of, samples_hash
from cycleqd.evaluation.rounds import Rounds
from cycleqd.experts import Conversation, TrainingSummary, train_expert
from cycleqd.experts.data import TrainingDataUnavailable, prepare_skill
from cycleqd.randomness import rng
from cycleqd.run.records import (
    Cell,
    EvaluationRecord,
    GenerationRecord,
    IndividualRecord,
    Phases,
    Score,
    SeedRecord,
    means,
)
from cycleqd.run.replay import search_after_all
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.prune import plan_pruning, prune
from cycleqd.search import Recipe, Search, build_mutation, final_elites, make
from cycleqd.search.operators import mean
from cycleqd.skills.oracle import demonstrations
from cycleqd.skills.parts import Part, block, samples_of
from cycleqd.skills.protocol import Message, Skill
from cycleqd.steps.admission import refuse_other_scores
from cycleqd.steps.workspace import BASE, Workspace
from cycleqd.task_vector import (
    DenseTaskVector,
    SharedBases,
    TaskVector,
    build_bases,
    load_task_vector,
    read_lora_adapter,
)
from cycleqd.telemetry import metrics
from cycleqd.telemetry.events import about, event

log = logging.getLogger(__name__)

AVERAGE = "average"
"""Id of the plain average of the experts, the baseline that every merge has to beat."""
AGGREGATE = "aggregate"
"""Id of the final model."""
PRUNE_INTERVAL = 20
"""Generations between two prunings: listing a bucket takes seconds, so not after each."""


def expert_id(skill: str) -> str:
    """Id of the expert of a skill."""
    return f"expert-{skill}"


def child_id(generation: int) -> str:
    """Id of the child of a generation."""
    return f"g{generation:04d}"


# Experts


def record_demonstrations(ws: Workspace, skill: str) -> list[list[Message]]:
    """The expert's training conversations: gold episodes played through the real sandboxes."""
    key = f"experts/{skill}/demonstrations.json"
    if not ws.store.exists(key):
        with ws.clock.measuring("train"):
            samples = ws.skills[skill].samples("train")
            log.info("recording %d gold episodes of %s", len(samples), skill)
            ws.store.write_json(key, demonstrations(ws.skills[skill], samples, ws.sandboxes))
    conversations: list[list[Message]] = ws.store.read_json(key)
    return conversations


def training_data(ws: Workspace, skill: str) -> Sequence[Conversation]:
    """What the expert of a skill learns from: the data sets that the configuration names, else gold episodes.

    Raises:
        TrainingDataUnavailable: A data set cannot be had, or has changed since this run read it.
    """
    data = ws.config.experts.data.get(skill)  # type: ignore[call-overload]
    if data is None:
        return record_demonstrations(ws, skill)
    key = f"experts/{skill}/data.json"
    with ws.clock.measuring("train"):
        prepared = prepare_skill(ws.config, skill, ws.skills.values())
    if ws.store.exists(key) and (before := ws.store.read_json(key)["hash"]) != prepared.report.hash:
        raise TrainingDataUnavailable(
            f"the training data of {skill} is not what this run read before ({prepared.report.hash[:12]}, then "
            f"{before[:12]}): restore it, or start a run of another name"
        )
    if not ws.store.exists(key):
        ws.store.write_json(key, prepared.report.model_dump(mode="json"))
    return prepared.conversations


def gather_training_data(ws: Workspace, skill: str) -> int:
    """Makes sure that the expert's training data is there; returns the number of conversations."""
    key = f"experts/{skill}/data.json"
    if ws.store.exists(key):
        return int(ws.store.read_json(key)["conversations"])
    return len(training_data(ws, skill))


def train(ws: Workspace, skill: str, progress: Callable[..., None] | None = None) -> TrainingSummary:
    """Fine-tunes the expert of a skill."""
    folder, summary = f"experts/{skill}/model", f"experts/{skill}/summary.json"
    if ws.store.exists(summary):
        return ws.store.fields(TrainingSummary, summary)
    conversations = training_data(ws, skill)
    settings = ws.config.experts
    # Without its summary, a model is what a killed training left.
    with ws.clock.measuring("train"), ws.store.writing(folder, replace=True) as out:
        result = train_expert(
            ws.base,
            conversations,
            out,
            method=settings.method,
            rank=settings.rank,
            alpha=settings.alpha,
            epochs=settings.epochs_by_skill.get(skill, settings.epochs),  # type: ignore[call-overload]
            learning_rate=settings.learning_rate,
            global_batch=settings.global_batch,
            micro_batch=settings.micro_batch,
            max_length=settings.max_length_of(skill),
            packing=settings.packing,
            warmup_fraction=settings.warmup_fraction,
            max_grad_norm=settings.max_grad_norm,
            weight_decay=settings.weight_decay,
            validation_fraction=settings.validation_fraction,
            dtype=ws.config.model.dtype,
            date=ws.config.model.date,
            seed=int(rng(ws.config.seed, 0, f"train {skill}").integers(2**31)),
            progress=progress,
            stop=ws.stop,
        )
    ws.store.write_json(summary, result._asdict())
    event(
        "expert_trained",
        run=ws.config.run_id,
        skill=skill,
        steps=result.steps,
        loss=result.loss_last,
        tokens=result.tokens,
        seconds=result.seconds,
    )
    return result


def derive_experts(ws: Workspace) -> list[IndividualRecord]:
    """Turns the trained experts, all of them, into task vectors over shared bases, and adds their plain average."""
    skills = ws.config.skill_names
    wanted = [*map(expert_id, skills), AVERAGE]
    if not all(ws.store.has_individual(identifier) for identifier in wanted):
        folders = {skill: ws.store.local(f"experts/{skill}/model") for skill in skills}
        vectors: dict[str, TaskVector]
        if ws.config.experts.method == "lora":
            bases, factored = build_bases({skill: read_lora_adapter(folders[skill]) for skill in skills})
            with ws.store.writing("bases.safetensors", replace=True) as path:
                bases.save(path)
            vectors = dict(factored)
        else:
            vectors = {
                skill: DenseTaskVector.between(ws.base_weights, BaseWeights(folder))
                for skill, folder in folders.items()
            }
        for skill, vector in vectors.items():
            add_individual(ws, vector, IndividualRecord(id=expert_id(skill), genome=""))
        k = len(skills)
        average = IndividualRecord(
            id=AVERAGE, genome="", parents=[expert_id(skill) for skill in skills], coefficients=[1 / k] * k
        )
        add_individual(ws, mean(list(vectors.values())), average)
    return [ws.store.individual(identifier) for identifier in wanted]


def add_individual(ws: Workspace, vector: TaskVector, record: IndividualRecord) -> IndividualRecord:
    """Writes genome, then recipe, in place of earlier or half-written ones; fills in the genome's hash."""
    ws.store.remove(f"individuals/{record.id}/individual.json")  # no recipe without its genome, even for a moment
    with ws.store.writing(f"individuals/{record.id}/genome.safetensors", replace=True) as path:
        vector.save(path)
    record = record.model_copy(update={"genome": vector.hash()})
    ws.store.write_individual(record)
    return record


def task_vector(store: RunStore, identifier: str) -> TaskVector:
    """The task vector of an individual.

    Raises:
        StoreError: There is no such individual.
    """
    path = store.local(f"individuals/{identifier}/genome.safetensors")
    factored = store.exists("bases.safetensors")
    return load_task_vector(path, _bases(store.local("bases.safetensors")) if factored else None)


@lru_cache(maxsize=1)
def _bases(path: Path) -> SharedBases:
    return SharedBases.load(path)


# Evaluation


def load(ws: Workspace, identifier: str) -> str:
    """Makes the engine serve an individual (or ``base``); returns the weights' identity."""
    with ws.clock.measuring("merge"):
        if identifier == BASE:
            ws.engine.load(BASE, None)
            return BASE
        genome = ws.store.individual(identifier).genome
        if ws.engine.loaded != genome:
            ws.engine.load(genome, task_vector(ws.store, identifier))
        return genome


def begin_rounds(ws: Workspace, identifier: str, split: Part) -> None:
    """Lets the evaluations of an individual that follow, one per skill and all at the same time, share their batches.

    What was already evaluated takes part as it did then, so that the others' batches are what they would have been.
    With nothing left to evaluate there is no need to call it.
    """
    ws.rounds.clear()
    if ws.config.engine.batching == "throughput":
        return
    identity, skills = _identity(ws, identifier), ws.config.skill_names
    finished = {
        skill: requests_of(
            ws.skills[skill], split, ws.store.episodes(identity, skill, split), live_episodes=ws.live_episodes
        )
        for skill in skills
        if ws.store.evaluation(identity, skill, split)
    }
    ws.rounds[identity, split] = Rounds(ws.engine, skills, finished, patience=ws.config.tasks.timeout_seconds)


def is_evaluated(ws: Workspace, identifier: str, split: Part) -> bool:
    """Whether an individual's scores on all skills are there, so that no engine has to load it."""
    identity = _identity(ws, identifier)
    return all(ws.store.evaluation(identity, skill, split) for skill in ws.config.skill_names)


def _identity(ws: Workspace, identifier: str) -> str:
    return BASE if identifier == BASE else ws.store.individual(identifier).genome


def evaluate_individual(ws: Workspace, identifier: str, skill: str, split: Part) -> EvaluationRecord:
    """Scores an individual on one skill's split, with the weights that `load` put into the engine.

    After `begin_rounds` it waits for the individual's evaluations on the other skills, in other threads.

    Raises:
        SandboxUnavailable: Infrastructure failed; nothing was scored.
        RoundBroken: An evaluation that shared the batches failed.
        RuntimeError: The engine holds other weights, or the run's scores were measured on other data.
        OtherScores: This individual was scored with another fingerprint (see `cycleqd.steps.admission`).
    """
    individual = None if identifier == BASE else ws.store.individual(identifier)
    identity = individual.genome if individual else BASE
    finished = ws.store.evaluation(identity, skill, split)
    if finished is not None:
        _refuse_other_data(finished, ws.skills[skill], split)
        refuse_other_scores(ws, finished)
        return finished
    fingerprint = ws.fingerprint(skill, split)
    if ws.engine.loaded != identity:
        raise RuntimeError(f"the engine holds {ws.engine.loaded[:12]}, not {identifier}; load it first")
    generation = individual.generation if individual else None
    with about(run=ws.config.run_id, generation=generation, individual=identifier, skill=skill, split=split):
        event("evaluation_started")
        with ws.clock.measuring("evaluate"):
            result = evaluate(
                ws.skills[skill],
                split,
                ws.engine,
                ws.sandboxes,
                batching=ws.config.engine.batching,
                live_episodes=ws.live_episodes,
                workers=ws.config.sandbox.workers,
                rounds=ws.rounds.get((identity, split)),
                stop=ws.stop,
            )
        record = result.record.model_copy(update={"fingerprint": fingerprint})
        ws.count_tokens(record.tokens)
        ws.store.write_evaluation(record, result.episodes)
        metrics.count_evaluation(
            ws.config.run_id,
            skill,
            scores=[sample.score for sample in record.samples],
            tokens=record.tokens,
            seconds=record.seconds,
        )
        _tell_evaluation(record)
    return record


def _tell_evaluation(record: EvaluationRecord) -> None:
    # Dozens a generation: whoever wants them as lines sets the level; the task's log names all episodes in one line.
    for sample in record.samples:
        event(
            "episode_finished",
            level=logging.DEBUG,
            episode=sample.id,
            score=sample.score,
            turns=sample.turns,
            tokens=sample.tokens,
            reason=sample.reason,
        )
    event(
        "evaluation_finished",
        score=record.score.score,
        se=record.score.se,
        n=record.score.n,
        tokens=record.tokens,
        seconds=record.seconds,
    )


def _refuse_other_data(record: EvaluationRecord, skill: Skill, split: Part) -> None:
    """Scores on different samples, releases of a benchmark or prompts are never mixed in one run."""
    then = (record.data_hash, record.data_sha256, record.prompt)
    if then != (samples_hash(samples_of(skill, split)), skill.origin.sha256, skill.origin.prompt):
        raise RuntimeError(
            f"this run scored {skill.name} on other samples or with another prompt ({record.data_version}, "
            f"{record.data_hash[:12]}, prompt {record.prompt[:19]}): give back the data that it began with, or start "
            "another run"
        )


def scores(ws: Workspace, identifier: str, split: Part) -> dict[str, Score]:
    """The finished scores of an individual, per skill.

    Raises:
        RuntimeError: An evaluation is missing.
    """
    identity = _identity(ws, identifier)
    found = {skill: ws.store.evaluation(identity, skill, split) for skill in ws.config.skill_names}
    missing = [skill for skill, record in found.items() if record is None]
    if missing:
        raise RuntimeError(f"{identifier} has no {split} evaluation of {', '.join(missing)}")
    return {skill: record.score for skill, record in found.items() if record is not None}


# Search


def seed_archives(ws: Workspace) -> SeedRecord:
    """Commits the experts' scores, which fix the grids, and who is offered to all archives: they, or baselines too."""
    record = ws.store.seed()
    if record is None:
        experts = [expert_id(skill) for skill in ws.config.skill_names]
        merged = choices(ws.store) if ws.config.archive.seeds == "experts+baselines" else []
        baselines = [choice.candidate.id for choice in merged]
        offered, part = [*experts, *baselines], first_part(ws)
        record = SeedRecord(
            experts=experts,
            genomes={one: ws.store.individual(one).genome for one in offered},
            scores={one: scores(ws, one, part) for one in offered},
            part=part,
            baselines=baselines,
        )
        ws.store.write_seed(record)
        event("archives_seeded", run=ws.config.run_id, experts=len(experts))
    return record


def rebuild_search(ws: Workspace) -> Search:
    """The search after the last finished generation, from the commit records alone.

    Raises:
        RuntimeError: The run was not seeded.
    """
    seed = ws.store.seed()
    if seed is None:
        raise RuntimeError(f"run {ws.config.run_id} has no seeded archives: start the run itself first")
    ws.search = search_after_all(ws.store, seed)
    return ws.search


def first_part(ws: Workspace) -> Part:
    """What the experts, the base and the baselines are scored on before the search: its first block."""
    return block(0, ws.config.search.block)


def asked(ws: Workspace, generation: int) -> tuple[str, Part]:
    """Whom the search wants to be scored in a generation, and on what."""
    recipe = _search(ws).ask(generation)
    return _individual_of(recipe, generation), block(recipe.block, ws.config.search.block)


def _individual_of(recipe: Recipe, generation: int) -> str:
    return recipe.again or child_id(generation)


def breed(ws: Workspace, generation: int) -> IndividualRecord:
    """Makes the child that the search asks for next, unless it is there already."""
    recipe = _search(ws).ask(generation)
    identifier = _individual_of(recipe, generation)
    if ws.store.has_individual(identifier):
        return ws.store.individual(identifier)
    config = ws.config
    with ws.clock.measuring("merge"), metrics.merging(config.run_id):
        record = IndividualRecord(
            id=identifier,
            genome="",
            generation=generation,
            archive=recipe.archive,
            parents=list(recipe.parents),
            coefficients=list(recipe.coefficients),
            mutation=dict(recipe.mutation),
        )
        record = _add_made(ws, recipe, record)
    event(
        "child_bred",
        run=config.run_id,
        generation=generation,
        individual=identifier,
        archive=recipe.archive or "",
        parents=",".join(recipe.parents),
    )
    return record


def _add_made(ws: Workspace, recipe: Recipe, record: IndividualRecord) -> IndividualRecord:
    made = make(
        recipe,
        lambda identifier: task_vector(ws.store, identifier),
        mutation=build_mutation(ws.config.mutation),
        expert_of=expert_id,
    )
    lost = {"residual": made.residual} if made.residual else {}
    record = record.model_copy(update={"merge": {**recipe.merge, **lost}})
    return add_individual(ws, made.task_vector, record)


def commit(ws: Workspace, generation: int, seconds: Phases) -> GenerationRecord:
    """Tells the search the scores of the generation's child and commits the generation; may be tried again."""
    search = _search(ws)
    # As whoever bred the child asked, maybe another process.
    identifier, part = asked(ws, generation)
    child = ws.store.individual(identifier)
    child_scores = scores(ws, child.id, part)
    ws.search = None  # an attempt that fails to write must not count: the search is then rebuilt from the records
    wins = search.tell(generation, child.id, means(child_scores))
    cells = {skill: Cell(bins=list(win.cell), displaced=win.displaced) for skill, win in wins.items() if win}
    record = GenerationRecord(
        generation=generation,
        archive=child.archive or "",
        individual=child.id,
        genome=child.genome,
        parents=child.parents,
        scores=child_scores,
        cells=cells,
        seconds=seconds,
        part=part,
    )
    ws.store.write_generation(record)
    ws.store.write_json(f"archives/{generation:05d}.json", json.loads(search.archives.to_json()))
    ws.search = search
    metrics.count_generation(
        ws.config.run_id, generation, seconds=seconds.total, sandbox=seconds.sandbox, generate=seconds.generate
    )
    ws.export_metrics()
    event(
        "generation_committed",
        run=ws.config.run_id,
        generation=generation,
        individual=child.id,
        cells=",".join(cells),
        seconds=seconds.total,
    )
    return record


def retain(ws: Workspace, generation: int) -> None:
    """Prunes as the configuration's retention says, every `PRUNE_INTERVAL` generations and after the last.

    Args:
        ws: The run.
        generation: The generation that was committed last.
    """
    settings = ws.config.retention
    if settings.policy == "keep-all" or ((generation + 1) % PRUNE_INTERVAL and generation + 1 < ws.config.generations):
        return
    plan = plan_pruning(ws.store, settings.policy, every=settings.every, episodes=settings.episodes)
    freed = prune(ws.store, plan, settings.policy)
    event("pruned", run=ws.config.run_id, generation=generation, individuals=len(plan), bytes=freed)


def aggregate(ws: Workspace) -> IndividualRecord:
    """Makes the final model, as the search answers."""
    if ws.store.has_individual(AGGREGATE):
        record = ws.store.individual(AGGREGATE)
        if record.generation == len(ws.store.generations()) - 1:
            return record
    recipe = _search(ws).answer()
    with ws.clock.measuring("merge"):
        record = IndividualRecord(
            id=AGGREGATE,
            genome="",
            generation=len(ws.store.generations()) - 1,
            parents=list(recipe.parents),
            coefficients=list(recipe.coefficients),
        )
        record = _add_made(ws, recipe, record)
    event("aggregated", run=ws.config.run_id, generation=record.generation, parents=",".join(record.parents))
    return record


def compared(ws: Workspace) -> list[str]:
    """Whom the report compares on the test split: its rows, of which the aggregate comes last.

    The best individual of an archive is one, also where the aggregate is made of others.
    """
    best = [elite.id for elite in final_elites(_search(ws).archives, "quality").values()]
    experts = map(expert_id, ws.config.skill_names)
    merged = [choice.candidate.id for choice in choices(ws.store)]
    return list(dict.fromkeys([BASE, AVERAGE, *merged, *experts, *best, AGGREGATE]))


def _search(ws: Workspace) -> Search:
    return ws.search if ws.search is not None else rebuild_search(ws)
