"""Runs made of records alone: what a store holds after a search, without models, engines and sandboxes.

An individual is a solving probability per skill; a sample is a difficulty; a score is the comparison of the two, so
that two individuals' scores on the same samples are correlated as real ones are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from cycleqd.config import ExpertConfig, RunConfig, SkillConfig
from cycleqd.experts import TrainingSummary
from cycleqd.report import replay, summarise
from cycleqd.report.members import Records
from cycleqd.run.records import (
    EpisodeRecord,
    EvaluationRecord,
    ExportRecord,
    GenerationRecord,
    IndividualRecord,
    Phases,
    SampleScore,
    Score,
    SeedRecord,
    SessionRecord,
    WonCell,
)
from cycleqd.run.store import RunStore
from cycleqd.search.archive import Archives, grids_from_experts

Ability = Mapping[str, float]

HOSTILE = "<script>alert('x')</script> \x1b[31m[bold]red[/bold] {{ 7 * 7 }}"
"""What a model may write, put into every transcript."""


def configuration(storage: str, skills: Sequence[str], *, run_id: str, generations: int) -> RunConfig:
    return RunConfig(
        run_id=run_id,
        seed=7,
        generations=generations,
        storage=storage,
        skills=tuple(SkillConfig(name=skill, optimization=24, test=30) for skill in skills),  # type: ignore[arg-type]
        # A fourth skill, which has no training data of its own.
        experts=ExpertConfig(source={"mbpp_plus": "hub/expert"} if "mbpp_plus" in skills else {}),
    )


def genome(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def evaluate(store: RunStore, whose: str, ability: Ability, skill: str, split: str) -> Score:
    """Writes an evaluation as the search would, and gives its score."""
    config = store.config()
    whole, _, numbers = split.partition(".")  # a part of a split has some of its samples
    count = config.counts(skill)[whole]
    first, last = map(int, numbers.split("-")) if numbers else (0, count)
    stream = [config.seed, *f"{skill}{whole}".encode()]
    difficulty = np.random.default_rng(stream).random(count)
    luck = np.random.default_rng([*stream, *whose.encode()]).normal(0, 0.15, count)
    solved = difficulty + luck < ability[skill]
    samples = [
        SampleScore(
            id=f"{skill}/count/{number:04}",
            score=float(won),
            reason="right" if won else "wrong answer",
            turns=2,
            tokens=17,
        )
        for number, won in enumerate(solved)
    ][first:last]
    episodes = [
        EpisodeRecord(
            sample=sample.id,
            template="count",
            score=sample.score,
            reason=sample.reason,
            messages=[
                {"role": "system", "content": "You act."},
                {"role": "user", "content": f"Solve {sample.id}."},
                {"role": "assistant", "content": HOSTILE},
            ],
        )
        for sample in samples
    ]
    record = EvaluationRecord(
        genome=whose,
        skill=skill,
        split=split,
        score=Score.of([sample.score for sample in samples]),
        samples=samples,
        data_hash=genome(f"{skill} {split}"),
        engine="synthetic",
        batching="strict",
        tokens=17 * count,
        seconds=1.5,
    )
    store.write_evaluation(record, episodes)
    return record.score


def trained(steps: int = 20) -> TrainingSummary:
    """Of a training whose loss falls to 1 / steps, with validation half-way and at the end."""
    losses = [float(f"{1 / step:.6g}") for step in range(1, steps + 1)]
    return TrainingSummary(
        steps=steps,
        conversations=8,
        left_out=0,
        tokens=100,
        seconds=2.0,
        tokens_per_second=50.0,
        loss_first=losses[0],
        loss_last=losses[-1],
        validation_loss=0.3,
        losses=losses,
        validation_losses=[(steps // 2, 0.4), (steps, 0.3)],
    )


def synthetic_run(
    storage: str,
    *,
    run_id: str = "synthetic",
    skills: Sequence[str] = ("coding", "os", "db"),
    generations: int = 6,
    planned: int | None = None,
    finished: bool = True,
) -> RunStore:
    """Writes a run's records.

    Args:
        storage: Where.
        run_id: The run's name.
        skills: Its skills.
        generations: Finished generations.
        planned: Generations of the configuration; as many as are finished if left out.
        finished: Whether the average, the aggregate and the test split were evaluated.
    """
    store = RunStore(storage, run_id)
    config = configuration(storage, skills, run_id=run_id, generations=generations if planned is None else planned)
    store.open(config)
    store.write_json("base.json", {"name": "synthetic", "hash": genome("base"), "parameters": 1234})
    abilities: dict[str, Ability] = {"base": dict.fromkeys(skills, 0.05)}
    rng = np.random.default_rng(11)

    for skill in skills:
        name = f"expert-{skill}"
        abilities[name] = {other: 0.6 if other == skill else float(rng.uniform(0.1, 0.3)) for other in skills}
        store.write_individual(IndividualRecord(id=name, genome=genome(name)))
        store.write_json(f"experts/{skill}/summary.json", trained()._asdict())
    experts = [f"expert-{skill}" for skill in skills]
    scores = {
        name: {skill: evaluate(store, genome(name), abilities[name], skill, "optimization") for skill in skills}
        for name in experts
    }
    for skill in skills:
        evaluate(store, "base", abilities["base"], skill, "optimization")
    store.write_seed(SeedRecord(experts=experts, genomes={name: genome(name) for name in experts}, scores=scores))

    plain = [{skill: score.score for skill, score in scores[name].items()} for name in experts]
    archives = Archives(skills, grids_from_experts(plain, bins=config.grid.bins))
    for name, start in zip(experts, plain, strict=True):
        archives.insert(name, start, -1)
    for generation in range(generations):
        active = archives.active(generation)
        pool = [one.id for one in archives[active].occupants()]
        parents = [str(name) for name in rng.choice(pool, size=2, replace=len(pool) < 2)]
        coefficients = [float(value) for value in rng.normal(1.0, 0.03, 2)]
        name = f"g{generation:04}"
        abilities[name] = {
            skill: float(np.clip(max(abilities[p][skill] for p in parents) * 0.75 + rng.normal(0.12, 0.08), 0.02, 0.9))
            for skill in skills
        }
        store.write_individual(
            IndividualRecord(
                id=name,
                genome=genome(name),
                generation=generation,
                archive=active,
                parents=parents,
                coefficients=coefficients,
                mutation={"kind": "svd", "w_max": 0.3, "mean_w": 0.15},
            )
        )
        child = {skill: evaluate(store, genome(name), abilities[name], skill, "optimization") for skill in skills}
        won = archives.insert(name, {skill: score.score for skill, score in child.items()}, generation)
        store.write_generation(
            GenerationRecord(
                generation=generation,
                archive=active,
                individual=name,
                genome=genome(name),
                parents=parents,
                scores=child,
                cells={s: WonCell(bins=list(w.cell), displaced=w.displaced) for s, w in won.items() if w},
                seconds=Phases(generate=5.0 + generation % 3, sandbox=1.5, merge=0.4, other=0.3),
            )
        )
    if finished:
        elites = [archives[skill].elite().id for skill in skills]
        _merge(store, abilities, "average", experts, [1.0] * len(experts), gain=0.0)
        _merge(
            store,
            abilities,
            "aggregate",
            elites,
            [1 / len(elites)] * len(elites),
            gain=0.1,
            generation=generations - 1,
        )
        for name in dict.fromkeys(["base", *experts, "average", "aggregate", *elites]):
            for skill in skills:
                for split in ("optimization", "test"):
                    evaluate(store, "base" if name == "base" else genome(name), abilities[name], skill, split)
    for number, day in enumerate(("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z")):
        store.write_session(
            SessionRecord(
                started=day,
                seconds=Phases(train=60.0 * (1 - number), generate=40.0, sandbox=12.0, merge=3.0, other=5.0),
                generations=generations // 2,
                tokens=1000,
                versions={"torch": "2.13.0", "vllm": f"0.3{number}"},
            )
        )
    return store


def export(store: RunStore, formats: Sequence[str] = ("checkpoint",)) -> None:
    """Puts folders in the place of the exported final model."""
    record = store.individual("aggregate")
    for name in formats:
        with store.writing(f"aggregate/{name}", replace=True) as out:
            out.mkdir()
            for file in ("config.json", "model.safetensors"):
                (out / file).write_text(f"{file} of {record.genome}")
    store.write_export(ExportRecord(individual=record.id, genome=record.genome, formats=list(formats)))


def _merge(
    store: RunStore,
    abilities: dict[str, Ability],
    name: str,
    sources: list[str],
    weights: list[float],
    *,
    gain: float,
    generation: int | None = None,
) -> None:
    skills = store.config().skill_names
    abilities[name] = {
        skill: min(0.9, sum(abilities[source][skill] for source in sources) / len(sources) + gain + 0.05)
        for skill in skills
    }
    store.write_individual(
        IndividualRecord(id=name, genome=genome(name), generation=generation, parents=sources, coefficients=weights)
    )


def records(store: RunStore) -> Records:
    """What the report's page is drawn from; without links to episodes."""

    def read(name: str) -> IndividualRecord | None:
        return store.individual(name) if store.has_individual(name) else None

    return Records(summarise(store), replay(store), store.seed(), read, {})
