"""Several runs as plain data: final scores, groups over seeds, differences in pairs, settings that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from cycleqd.bootstrap import bootstrap_over_seeds
from cycleqd.report.compare.runs import Run
from cycleqd.report.statistics import average, paired_difference
from cycleqd.report.summary import Summary
from cycleqd.run.records import EvaluationRecord

SPLIT = "test"


class Estimate(BaseModel):
    """A mean in [0, 1], or a difference of two, with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float


class RunRow(BaseModel):
    """What came of one run.

    Attributes:
        label: What it is called here.
        seed: Of its draws.
        group: Number of its group, in the order of `Comparison.groups`.
        generations: Finished generations.
        generations_planned: Generations that it is to have.
        seconds: Wall-clock time of all its starts.
        base: The base model's mean over all skills on the test split; None while one is not measured.
        best_baseline: Likewise that of the best merge without a search.
        final: Likewise the final model's, with its interval over samples.
        skills: The final model's score by skill.
        samples: Test samples by skill.
        against_first: The final model's mean minus that of the first run, in pairs of samples; None where the two met
            different samples.
        best: Highest mean over all skills of any individual in any archive, on the optimization split, after every
            generation; that of the experts alone first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    seed: int
    group: int
    generations: int
    generations_planned: int
    seconds: float
    base: float | None
    best_baseline: float | None
    final: Estimate | None
    skills: dict[str, Estimate]
    samples: dict[str, int]
    against_first: Estimate | None
    best: list[float]


class Group(BaseModel):
    """Runs that differ in nothing but their seed.

    Attributes:
        name: The settings in which it differs from the other groups.
        runs: Their labels.
        seeds: Seeds of those that are finished; only they count.
        final: Mean of their final models over skills and seeds, with its interval over seeds and samples; None while
            none is finished.
        skills: The same by skill, without intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    runs: list[str]
    seeds: list[int]
    final: Estimate | None
    skills: dict[str, float]


class Comparison(BaseModel):
    """Several runs side by side.

    Attributes:
        skills: All that any run has.
        runs: In the order in which they were named.
        groups: In the order of their first runs.
        settings: Settings that differ: the text of each run in order, ``–`` where it has none of the name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    skills: list[str]
    runs: list[RunRow]
    groups: list[Group]
    settings: dict[str, list[str]]


def comparison(runs: Sequence[Run]) -> Comparison:
    """Compares runs.

    Args:
        runs: At least one, with labels that differ.

    Raises:
        ValueError: There are none, or two have one label.
    """
    if not runs or len({run.label for run in runs}) != len(runs):
        raise ValueError(f"expected runs with labels that differ, got {[run.label for run in runs]}")
    groups = _grouped(runs)
    place = {run.label: number for number, group in enumerate(groups) for run in group}
    skills = list(dict.fromkeys(skill for run in runs for skill in run.summary.skills))
    return Comparison(
        skills=skills,
        runs=[_row(run, runs[0], place[run.label]) for run in runs],
        groups=[_group(group, [other for other in groups if other is not group]) for group in groups],
        settings=_differing(runs),
    )


def _grouped(runs: Sequence[Run]) -> list[list[Run]]:
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(_method(run), []).append(run)
    return list(groups.values())


def _method(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((path, text) for path, text in run.settings.items() if path != "seed"))


def _row(run: Run, first: Run, group: int) -> RunRow:
    summary = run.summary
    mean, intervals = summary.mean(SPLIT, "cycleqd"), summary.intervals.get(SPLIT, {}).get("cycleqd", {})
    skills = {skill: score for skill in summary.skills if (score := summary.score(SPLIT, "cycleqd", skill))}
    return RunRow(
        label=run.label,
        seed=summary.seed,
        group=group,
        generations=summary.generations,
        generations_planned=summary.generations_planned,
        seconds=summary.wall_seconds["total"],
        base=summary.mean(SPLIT, "base"),
        best_baseline=_best_baseline(summary),
        final=None if mean is None else Estimate(mean=mean, **intervals["mean"]._asdict()),
        skills={skill: Estimate(mean=score.score, **score.interval._asdict()) for skill, score in skills.items()},
        samples={skill: score.n for skill, score in skills.items()},
        against_first=None if run is first else _paired(run, first),
        best=list(run.curves.best),
    )


def _best_baseline(summary: Summary) -> float | None:
    return summary.mean(SPLIT, summary.best_baseline) if summary.best_baseline else None


def _paired(run: Run, first: Run) -> Estimate | None:
    if not run.final or run.final.keys() != first.final.keys():
        return None
    differences = [paired_difference(record, first.final[skill]) for skill, record in run.final.items()]
    known = [difference for difference in differences if difference is not None]
    if len(known) != len(differences):
        return None
    mean = average(known)
    return Estimate(mean=mean.difference, **mean.interval._asdict())


def _group(runs: Sequence[Run], others: Sequence[Sequence[Run]]) -> Group:
    finished = [run for run in runs if run.final]
    name = ", ".join(
        f"{path} {text}"
        for path, text in runs[0].settings.items()
        if path != "seed" and any(other[0].settings.get(path) != text for other in others)
    )
    final = None
    if finished:
        records = [[run.final[skill] for skill in finished[0].final] for run in finished]
        scores = [[_values(record) for record in skills] for skills in records]
        interval = bootstrap_over_seeds(scores, [[record.data_hash for record in skills] for skills in records])
        mean = _mean([_mean([_mean(values) for values in skills]) for skills in scores])
        final = Estimate(mean=mean, low=max(0.0, interval.low), high=min(1.0, interval.high))
    return Group(
        name=name or "all runs",
        runs=[run.label for run in runs],
        seeds=[run.summary.seed for run in finished],
        final=final,
        skills={
            skill: _mean([run.final[skill].score.score for run in finished])
            for skill in (finished[0].final if finished else ())
        },
    )


def _differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    found = {path: [run.settings.get(path, "–") for run in runs] for path in paths}
    return {path: texts for path, texts in found.items() if len(set(texts)) > 1}


def _values(record: EvaluationRecord) -> list[float]:
    return [sample.score for sample in sorted(record.samples, key=lambda sample: sample.id)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
