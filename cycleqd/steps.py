"""The steps of a run, each idempotent: what is already in the store is not done again.

A step takes the workspace and references, leaves its result in the store and returns a small record. Prefect's tasks
wrap these functions one to one; a plain loop over them is a whole run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from cycleqd import metrics, search
from cycleqd.archive import Archives
from cycleqd.base_model import BaseWeights
from cycleqd.config import MutationConfig, SamplingConfig
from cycleqd.evaluation import evaluate, requests_of, samples_hash
from cycleqd.events import about, event
from cycleqd.experts import Conversation, TrainingSummary, train_expert
from cycleqd.experts.data import TrainingDataUnavailable, prepare_skill
from cycleqd.operators import (
    MUTATIONS,
    SAMPLERS,
    LinearCrossover,
    Mutation,
    Sampler,
    SoftmaxAggregation,
    mean,
)
from cycleqd.randomness import rng
from cycleqd.records import (
    Cell,
    EvaluationRecord,
    GenerationRecord,
    IndividualRecord,
    Phases,
    Score,
    SeedRecord,
    means,
)
from cycleqd.rounds import Rounds
from cycleqd.skills.oracle import demonstrations
from cycleqd.skills.protocol import Message, Skill, Split
from cycleqd.store import RunStore
from cycleqd.task_vector import (
    DenseTaskVector,
    SharedBases,
    TaskVector,
    build_bases,
    load_task_vector,
    read_lora_adapter,
)
from cycleqd.upkeep.commits import archives_after_all
from cycleqd.upkeep.prune import plan_pruning, prune
from cycleqd.workspace import BASE, Workspace

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
        return TrainingSummary(**ws.store.read_json(summary))
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
            _add_individual(ws, vector, IndividualRecord(id=expert_id(skill), genome=""))
        k = len(skills)
        average = IndividualRecord(
            id=AVERAGE, genome="", parents=[expert_id(skill) for skill in skills], coefficients=[1 / k] * k
        )
        _add_individual(ws, mean(list(vectors.values())), average)
    return [ws.store.individual(identifier) for identifier in wanted]


def _add_individual(ws: Workspace, vector: TaskVector, record: IndividualRecord) -> IndividualRecord:
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


def begin_rounds(ws: Workspace, identifier: str, split: Split) -> None:
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
            ws.skills[skill], split, ws.store.episodes(identity, skill, split), live_episodes=_live_episodes(ws)
        )
        for skill in skills
        if ws.store.evaluation(identity, skill, split)
    }
    ws.rounds[identity, split] = Rounds(ws.engine, skills, finished, patience=ws.config.tasks.timeout_seconds)


def is_evaluated(ws: Workspace, identifier: str, split: Split) -> bool:
    """Whether an individual's scores on all skills are there, so that no engine has to load it."""
    identity = _identity(ws, identifier)
    return all(ws.store.evaluation(identity, skill, split) for skill in ws.config.skill_names)


def _identity(ws: Workspace, identifier: str) -> str:
    return BASE if identifier == BASE else ws.store.individual(identifier).genome


def _live_episodes(ws: Workspace) -> int:
    """Of one skill: the skills that play together share the containers, and may all need some to go on."""
    return max(1, ws.config.sandbox.max_containers // len(ws.config.skill_names))


def evaluate_individual(ws: Workspace, identifier: str, skill: str, split: Split) -> EvaluationRecord:
    """Scores an individual on one skill's split, with the weights that `load` put into the engine.

    After `begin_rounds` it waits for the individual's evaluations on the other skills, in other threads.

    Raises:
        SandboxUnavailable: Infrastructure failed; nothing was scored.
        RoundBroken: An evaluation that shared the batches failed.
        RuntimeError: The engine holds other weights, or the run's scores were measured on other data.
    """
    individual = None if identifier == BASE else ws.store.individual(identifier)
    identity = individual.genome if individual else BASE
    finished = ws.store.evaluation(identity, skill, split)
    if finished is not None:
        _refuse_other_data(finished, ws.skills[skill], split)
        return finished
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
                live_episodes=_live_episodes(ws),
                workers=ws.config.sandbox.workers,
                rounds=ws.rounds.get((identity, split)),
                stop=ws.stop,
            )
        ws.count_tokens(result.record.tokens)
        ws.store.write_evaluation(result.record, result.episodes)
        metrics.count_evaluation(ws.config.run_id, result.record)
        _tell_evaluation(result.record)
    return result.record


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


def _refuse_other_data(record: EvaluationRecord, skill: Skill, split: Split) -> None:
    """Scores on different samples, releases of a benchmark or prompts are never mixed in one run."""
    then = (record.data_hash, record.data_sha256, record.prompt)
    if then != (samples_hash(skill.samples(split)), skill.origin.sha256, skill.origin.prompt):
        raise RuntimeError(
            f"this run scored {skill.name} on other samples or with another prompt ({record.data_version}, "
            f"{record.data_hash[:12]}, prompt {record.prompt[:19]}): give back the data that it began with, or start "
            "another run"
        )


def scores(ws: Workspace, identifier: str, split: Split) -> dict[str, Score]:
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
    """Commits the experts' scores, which fix the grids, and offers the experts to all archives."""
    record = ws.store.seed()
    if record is None:
        experts = [expert_id(skill) for skill in ws.config.skill_names]
        record = SeedRecord(
            experts=experts,
            genomes={expert: ws.store.individual(expert).genome for expert in experts},
            scores={expert: scores(ws, expert, "optimization") for expert in experts},
        )
        ws.store.write_seed(record)
        event("archives_seeded", run=ws.config.run_id, experts=len(experts))
    return record


def rebuild_archives(ws: Workspace) -> Archives:
    """The archives after the last finished generation, from the commit records alone.

    Raises:
        RuntimeError: The run was not seeded.
    """
    seed = ws.store.seed()
    if seed is None:
        raise RuntimeError(f"run {ws.config.run_id} has no seeded archives: start the run itself first")
    ws.archives = archives_after_all(ws.store, seed)
    return ws.archives


def breed(ws: Workspace, generation: int) -> IndividualRecord:
    """Samples two parents from the active archive, merges and mutates them."""
    identifier = child_id(generation)
    if ws.store.has_individual(identifier):
        return ws.store.individual(identifier)
    config = ws.config
    with ws.clock.measuring("merge"), metrics.merging(config.run_id):
        proposal = search.propose(_archives(ws), generation, config.seed, build_sampler(config.sampling))
        first, second = (task_vector(ws.store, parent) for parent in proposal.parents)
        child = search.breed(
            (first, second),
            task_vector(ws.store, expert_id(proposal.skill)),
            generation,
            config.seed,
            LinearCrossover(mu=config.crossover.mu, sigma=config.crossover.sigma),
            build_mutation(config.mutation),
        )
        mutation = {"kind": config.mutation.kind, "seed": child.mutation_seed}
        record = IndividualRecord(
            id=identifier,
            genome="",
            generation=generation,
            archive=proposal.skill,
            parents=list(proposal.parents),
            coefficients=list(child.coefficients),
            mutation={key: value for key, value in mutation.items() if value is not None},
        )
        record = _add_individual(ws, child.task_vector, record)
    event(
        "child_bred",
        run=config.run_id,
        generation=generation,
        individual=identifier,
        archive=proposal.skill,
        parents=",".join(proposal.parents),
    )
    return record


def build_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that a configuration names."""
    settings = {"alpha_low": config.alpha_low, "alpha_high": config.alpha_high} if config.kind == "elite" else {}
    return SAMPLERS[config.kind](**settings)


def build_mutation(config: MutationConfig) -> Mutation:
    """The mutation that a configuration names."""
    settings: dict[str, dict[str, float | str]] = {
        "svd": {"w_max": config.w_max, "basis": config.basis},
        "gaussian": {"std": config.std},
        "none": {},
    }
    return MUTATIONS[config.kind](**settings[config.kind])


def commit(ws: Workspace, generation: int, seconds: Phases) -> GenerationRecord:
    """Offers the generation's evaluated child to all archives and commits the generation; may be tried again."""
    archives = deepcopy(_archives(ws))  # an attempt that fails to write must leave them as they were
    child = ws.store.individual(child_id(generation))
    child_scores = scores(ws, child.id, "optimization")
    wins = search.tell(archives, child.id, means(child_scores), generation)
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
    )
    ws.store.write_generation(record)
    ws.store.write_json(f"archives/{generation:05d}.json", json.loads(archives.to_json()))
    ws.archives = archives
    metrics.count_generation(ws.config.run_id, record)
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
    """Folds the archives' elites into the final model."""
    if ws.store.has_individual(AGGREGATE):
        record = ws.store.individual(AGGREGATE)
        if record.generation == len(ws.store.generations()) - 1:
            return record
    archives = _archives(ws)
    settings = ws.config.aggregation
    elites = search.final_elites(archives, settings.elites)
    aggregation = SoftmaxAggregation(temperature=settings.temperature)
    with ws.clock.measuring("merge"):
        result = aggregation.aggregate(
            [task_vector(ws.store, elite.id) for elite in elites.values()],
            [elite.scores[skill] for skill, elite in elites.items()],
        )
        record = IndividualRecord(
            id=AGGREGATE,
            genome="",
            generation=len(ws.store.generations()) - 1,
            parents=[elite.id for elite in elites.values()],
            coefficients=list(result.weights),
        )
        record = _add_individual(ws, result.task_vector, record)
    event("aggregated", run=ws.config.run_id, generation=record.generation, parents=",".join(record.parents))
    return record


def compared(ws: Workspace) -> list[str]:
    """Whom the report compares on the test split: its rows, of which the aggregate comes last.

    The best individual of an archive is one, also where the aggregate is made of others.
    """
    best = [elite.id for elite in search.final_elites(_archives(ws), "quality").values()]
    experts = map(expert_id, ws.config.skill_names)
    return list(dict.fromkeys([BASE, AVERAGE, *experts, *best, AGGREGATE]))


def _archives(ws: Workspace) -> Archives:
    return ws.archives if ws.archives is not None else rebuild_archives(ws)
