"""What an experiment found: test scores of every method, pooled over seeds and samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from cycleqd.bootstrap import bootstrap_over_seeds
from cycleqd.experiment.plan import ExperimentConfig, PlannedRun, planned_runs, samples_of_a_child
from cycleqd.report.compare.comparison import Estimate
from cycleqd.report.summary import Summary, evaluations, summarise
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


class _Measured(NamedTuple):
    """One model on the test split: its samples' scores by skill and sample, and what it cost."""

    scores: Mapping[str, Mapping[str, float]]
    episodes: int

    def values(self) -> list[list[float]]:
        return [[scores[key] for key in sorted(scores)] for scores in self.scores.values()]

    @property
    def mean(self) -> float:
        return math.fsum(_mean(values) for values in self.values()) / len(self.scores)


def collect(experiment: ExperimentConfig) -> Results:
    """Reads the runs of an experiment, finished or not.

    Raises:
        StoreError: A run's records cannot be read.
    """
    measured: dict[int, dict[str, _Measured]] = defaultdict(dict)
    unfinished: list[str] = []
    versions: dict[str, str] = {}
    seconds = 0.0
    for planned in planned_runs(experiment):
        found = _measured(planned)
        if found is None:
            unfinished.append(planned.config.run_id)
            continue
        summary, models = found
        measured[planned.seed] |= models
        seconds += summary.wall_seconds["total"]
        versions |= summary.versions
    missing = {int(run_id.rpartition("-")[2]) for run_id in unfinished}
    seeds = [seed for seed in experiment.seeds if seed in measured and seed not in missing]
    names = [name for name in _order(measured, experiment) if all(name in measured[seed] for seed in seeds)]
    first = measured[seeds[0]][experiment.subject] if seeds else None
    rows = {name: _row([measured[seed][name] for seed in seeds], seeds) for name in names} if seeds else {}
    return Results(
        name=experiment.name,
        subject=experiment.subject,
        seeds=seeds,
        episodes=_budget(experiment),
        samples={skill: len(scores) for skill, scores in first.scores.items()} if first else {},
        rows=rows,
        differences={
            f"{experiment.subject}-{name}": _gap(
                [measured[seed][experiment.subject] for seed in seeds], [measured[seed][name] for seed in seeds]
            )
            for name in rows
            if name != experiment.subject
        },
        unfinished=unfinished,
        seconds=seconds,
        versions=versions,
    )


def _measured(planned: PlannedRun) -> tuple[Summary, dict[str, _Measured]] | None:
    """The rows that a run measured on the test split; those of its search go by the method's name."""
    store = RunStore(planned.config.storage, planned.config.run_id)
    if not store.exists(SUMMARY_KEY):
        return None
    summary = summarise(store)
    if summary.mean(SPLIT, "cycleqd") is None or summary.generations < planned.config.generations:
        return None
    found = evaluations(store, summary.skills, summary.genomes)
    child = samples_of_a_child(planned.config)
    rows = {}
    for row in summary.rows:
        if summary.mean(SPLIT, row) is None or row.startswith("elite:"):
            continue
        records = {skill: found[SPLIT, row, skill] for skill in summary.skills}
        spent = summary.generations if row == "cycleqd" else summary.evaluations.get(row, 0)
        name = {"cycleqd": planned.method, "merged": f"{planned.method}-merged"}.get(row, row)
        rows[name] = _Measured({skill: _by_sample(record) for skill, record in records.items()}, spent * child)
    return summary, rows


def _by_sample(record: EvaluationRecord) -> dict[str, float]:
    return {sample.id: sample.score for sample in record.samples}


def _order(measured: Mapping[int, Mapping[str, _Measured]], experiment: ExperimentConfig) -> list[str]:
    """All rows, those without a search first."""
    names = dict.fromkeys(name for rows in measured.values() for name in rows)
    return [name for name in names if name not in experiment.methods] + list(experiment.methods)


def _row(models: Sequence[_Measured], seeds: Sequence[int]) -> Row:
    interval = bootstrap_over_seeds([model.values() for model in models])
    skills = list(models[0].scores)
    return Row(
        mean=_mean([model.mean for model in models]),
        low=max(0.0, interval.low),
        high=min(1.0, interval.high),
        skills={skill: _mean([_mean(list(model.scores[skill].values())) for model in models]) for skill in skills},
        seeds={seed: model.mean for seed, model in zip(seeds, models, strict=True)},
        episodes=_mean([model.episodes for model in models]),
    )


def _gap(ours: Sequence[_Measured], others: Sequence[_Measured]) -> Estimate:
    differences = [
        [
            [mine[key] - theirs[key] for key in sorted(mine)]
            for mine, theirs in zip(first.scores.values(), second.scores.values(), strict=True)
        ]
        for first, second in zip(ours, others, strict=True)
    ]
    interval = bootstrap_over_seeds(differences)
    mean = _mean([first.mean - second.mean for first, second in zip(ours, others, strict=True)])
    return Estimate(mean=mean, low=interval.low, high=interval.high)


def _budget(experiment: ExperimentConfig) -> int:
    planned = next(planned_runs(experiment))
    return planned.config.generations * samples_of_a_child(planned.config)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
