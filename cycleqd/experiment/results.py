"""What an experiment found: test scores of every method, pooled over seeds and samples."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cycleqd.bootstrap import bootstrap_over_seeds
from cycleqd.experiment.plan import ExperimentConfig, PlannedRun, planned_runs, samples_of_a_child
from cycleqd.report.compare.comparison import Estimate
from cycleqd.report.summary import evaluations, summarise
from cycleqd.run.names import SUMMARY_KEY
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.store import RunStore

SPLIT = "test"


class Row(BaseModel):
    """One method over all seeds.

    Attributes:
        mean: Mean test score over skills, then over seeds, in [0, 1].
        low: Lower end of its 95 % interval, by a bootstrap over seeds and samples.
        high: Upper end.
        skills: Mean test score by skill, over seeds.
        seeds: Mean test score by seed.
        episodes: Episodes on the optimization split that one seed's final model cost on average, experts left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float
    skills: dict[str, float]
    seeds: dict[int, float]
    episodes: float


class Results(BaseModel):
    """The table of an experiment.

    Attributes:
        subject: The method whose differences to all others are shown.
        seeds: Seeds for which every method is finished; only they count.
        episodes: Budget of each search, in episodes on the optimization split.
        samples: Test samples of a skill and seed.
        rows: By method; merges without a search and the experts are rows, too.
        differences: ``<ours>-<other>`` for every other row.
        unfinished: Runs that are missing.
        seconds: Wall-clock time of all runs.
        versions: Package versions that took part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    subject: str
    seeds: list[int]
    episodes: int
    samples: dict[str, int]
    rows: dict[str, Row]
    differences: dict[str, Estimate]
    unfinished: list[str]
    seconds: float
    versions: dict[str, str]


class Measured(BaseModel):
    """One method on one seed's test split: a line of the file that other machines' results are pooled from.

    Attributes:
        experiment: Name of the experiment.
        plan: `plan_hash` of it.
        method: The row.
        seed: The seed.
        mean: Mean score over the skills, in [0, 1].
        episodes: Episodes on the optimization split that the model cost, experts left out.
        samples: Hash of the samples' names; models are compared sample by sample.
        data: Content hash of the samples by skill; seeds may share those of some skills. Empty in lines of older
            versions.
        scores: By skill, one for each sample in the order of their names, in [0, 1].
        seconds: Wall-clock time of the run that it comes from; 0 where another line of that run has it.
        versions: Package versions that took part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    plan: str
    method: str
    seed: int
    mean: float
    episodes: int
    samples: str
    scores: dict[str, list[float]]
    seconds: float = 0.0
    versions: dict[str, str] = {}
    data: dict[str, str] = {}


class OtherPlan(ValueError):
    """Lines that were measured with other settings than the experiment's."""


def plan_hash(experiment: ExperimentConfig) -> str:
    """What two machines must agree on for their seeds to count in one table: all of a plan but seeds and storage."""
    first = experiment.seeds[:1]
    runs = planned_runs(experiment.model_copy(update={"seeds": first, "storage": "runs"}))
    content = [run.config.model_dump(mode="json", exclude={"seed", "run_id", "storage"}) for run in runs]
    return hashlib.sha256(json.dumps([list(experiment.methods), content], sort_keys=True).encode()).hexdigest()[:16]


def read_lines(path: Path, experiment: ExperimentConfig) -> list[Measured]:
    """What another machine measured of the same experiment: the lines of its ``<name>.jsonl``.

    Raises:
        OtherPlan: The file is no such file, or was measured with other settings or another budget.
    """
    try:
        lines = [Measured.model_validate_json(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise OtherPlan(f"{path} holds no results of an experiment: {error}") from None
    wanted = plan_hash(experiment)
    if other := next((line for line in lines if line.plan != wanted), None):
        raise OtherPlan(
            f"{path} was measured with other settings or another budget than {experiment.name} has now "
            f"(plan {other.plan}, not {wanted}): its seeds cannot be pooled with these"
        )
    return lines


def measure(experiment: ExperimentConfig) -> list[Measured]:
    """Reads the finished runs of an experiment, seed by seed.

    Raises:
        StoreError: A run's records cannot be read.
    """
    plan = plan_hash(experiment)
    return [line for planned in planned_runs(experiment) for line in _measured(planned, experiment.name, plan)]


def collect(experiment: ExperimentConfig, elsewhere: Iterable[Measured] = ()) -> Results:
    """Reads the runs of an experiment, finished or not, and pools them with what was measured elsewhere.

    Args:
        experiment: Its plan.
        elsewhere: Results of other machines (`read_lines`). Seeds that the plan does not have count, too. A seed is
            taken whole from one machine: from this one if all methods are finished here.

    Raises:
        StoreError: A run's records cannot be read.
    """
    return table_of(experiment, pooled(experiment, measure(experiment), elsewhere))


def table_of(experiment: ExperimentConfig, lines: Sequence[Measured]) -> Results:
    """The table of what was measured, each seed's by one machine (`pooled`)."""
    measured: dict[int, dict[str, Measured]] = defaultdict(dict)
    for line in lines:
        measured[line.seed][line.method] = line
    planned = sorted({*experiment.seeds, *measured})
    missing = [(method, seed) for seed in planned for method in experiment.methods if method not in measured[seed]]
    seeds = [seed for seed in planned if seed not in {seed for _, seed in missing}]
    names = [name for name in _order(measured, experiment) if all(name in measured[seed] for seed in seeds)]
    subject = experiment.subject
    rows = {name: [measured[seed][name] for seed in seeds] for name in names} if seeds else {}
    return Results(
        name=experiment.name,
        subject=subject,
        seeds=seeds,
        episodes=_budget(experiment),
        samples={skill: len(scores) for skill, scores in rows[subject][0].scores.items()} if rows else {},
        rows={name: _row(models, seeds) for name, models in rows.items()},
        differences={f"{subject}-{name}": _gap(rows[subject], rows[name]) for name in rows if name != subject},
        unfinished=[experiment.run_id(method, seed) for method, seed in missing],
        seconds=math.fsum(line.seconds for line in lines),
        versions={name: version for line in lines for name, version in line.versions.items()},
    )


def pooled(experiment: ExperimentConfig, own: Iterable[Measured], elsewhere: Iterable[Measured]) -> list[Measured]:
    """The lines that count. A seed is taken whole, from this machine if it has all methods or the others have none."""
    here, there = _by_seed(own), _by_seed(elsewhere)
    complete = {seed for seed, lines in here.items() if {line.method for line in lines} >= set(experiment.methods)}
    chosen = {**here, **there} | {seed: here[seed] for seed in complete}
    return [line for lines in chosen.values() for line in lines]


def _by_seed(lines: Iterable[Measured]) -> dict[int, list[Measured]]:
    found: dict[int, list[Measured]] = defaultdict(list)
    for line in lines:
        found[line.seed].append(line)
    return dict(found)


def _measured(planned: PlannedRun, experiment: str, plan: str) -> list[Measured]:
    """The rows that a run measured on the test split; those of its search go by the method's name."""
    store = RunStore(planned.config.storage, planned.config.run_id)
    if not store.exists(SUMMARY_KEY):
        return []
    summary = summarise(store)
    if summary.mean(SPLIT, "cycleqd") is None or summary.generations < planned.config.generations:
        return []
    found = evaluations(store, summary.skills, summary.genomes)
    child = samples_of_a_child(planned.config)
    searched = len({(record.genome, record.part) for record in store.generations()})  # once is enough
    lines = []
    for row in summary.rows:
        mean = summary.mean(SPLIT, row)
        if mean is None or row.startswith("elite:"):
            continue
        spent = searched if row == "cycleqd" else summary.evaluations.get(row, 0)
        records = [found[SPLIT, row, skill] for skill in summary.skills]
        name = {"cycleqd": planned.method, "merged": f"{planned.method}-merged"}.get(row, row)
        lines.append(
            Measured(
                experiment=experiment,
                plan=plan,
                method=name,
                seed=planned.seed,
                mean=mean,
                episodes=spent * child,
                samples=_names_hash([sorted(_by_sample(record)) for record in records]),
                data={skill: record.data_hash for skill, record in zip(summary.skills, records, strict=True)},
                scores={
                    skill: [score for _, score in sorted(_by_sample(record).items())]
                    for skill, record in zip(summary.skills, records, strict=True)
                },
                seconds=summary.wall_seconds["total"] if row == "cycleqd" else 0.0,
                versions=summary.versions,
            )
        )
    return lines


def _by_sample(record: EvaluationRecord) -> dict[str, float]:
    return {sample.id: sample.score for sample in record.samples}


def _names_hash(names: list[list[str]]) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def _order(measured: Mapping[int, Mapping[str, Measured]], experiment: ExperimentConfig) -> list[str]:
    """All rows, those without a search first."""
    names = dict.fromkeys(name for rows in measured.values() for name in rows)
    return [name for name in names if name not in experiment.methods] + list(experiment.methods)


def _row(models: Sequence[Measured], seeds: Sequence[int]) -> Row:
    skills = list(models[0].scores)
    interval = bootstrap_over_seeds([[model.scores[skill] for skill in skills] for model in models], _met(models))
    return Row(
        mean=_mean([model.mean for model in models]),
        low=max(0.0, interval.low),
        high=min(1.0, interval.high),
        skills={skill: _mean([_mean(model.scores[skill]) for model in models]) for skill in skills},
        seeds={seed: model.mean for seed, model in zip(seeds, models, strict=True)},
        episodes=_mean([model.episodes for model in models]),
    )


def _gap(ours: Sequence[Measured], others: Sequence[Measured]) -> Estimate:
    for first, second in zip(ours, others, strict=True):
        if first.samples != second.samples:
            raise OtherPlan(f"{first.method} and {second.method} met other samples with seed {first.seed}")
    differences = [
        [
            [mine - theirs for mine, theirs in zip(first.scores[skill], second.scores[skill], strict=True)]
            for skill in ours[0].scores
        ]
        for first, second in zip(ours, others, strict=True)
    ]
    interval = bootstrap_over_seeds(differences, _met(ours))
    mean = _mean([first.mean - second.mean for first, second in zip(ours, others, strict=True)])
    return Estimate(mean=mean, low=interval.low, high=interval.high)


def _met(models: Sequence[Measured]) -> list[list[str]]:
    """For each seed and skill, a hash of its samples; if a line is of an older version, of those of all skills."""
    known = all(model.data for model in models)
    return [[model.data[skill] if known else model.samples for skill in models[0].scores] for model in models]


def _budget(experiment: ExperimentConfig) -> int:
    planned = next(planned_runs(experiment))
    return planned.config.generations * samples_of_a_child(planned.config)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
