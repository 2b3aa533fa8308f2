"""The figures of a run as one small JSON-able model, from the run's records alone.

A *row* is one model of the table: ``base``, ``expert:<skill>``, ``all-data`` (one model fine-tuned on all skills'
data), ``average`` (the plain average of the experts),
``baseline:<label>`` (another merge of the experts without a search), ``elite:<skill>`` (the best individual of that
skill's archive) and ``cycleqd`` (the aggregate).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from cycleqd.baselines import Choice, choices
from cycleqd.report.history import History, replay
from cycleqd.report.rows import Compared, in_order, kind_of, rows_of
from cycleqd.report.statistics import average, paired_difference
from cycleqd.run.names import BASE
from cycleqd.run.records import EvaluationRecord, Phases, Score, SessionRecord
from cycleqd.run.store import RunStore
from cycleqd.statistics import Interval, interval_of_mean

SPLITS = ("test", "optimization")
"""The splits of the report, the one that the search never saw first."""

PHASES = ("train", "generate", "sandbox", "merge", "other")
"""The phases in which wall-clock time is counted."""

Evaluations = dict[tuple[str, str, str], EvaluationRecord]
"""Finished evaluations by (split, row, skill)."""


class Comparison(BaseModel):
    """One row against another on the same samples.

    Attributes:
        skill: The skill, or ``mean`` for the unweighted mean over all skills.
        difference: Score of `row` minus score of `against`, in [-1, 1].
        se: Standard error of the difference, paired by sample.
        n: Samples behind it.
        clear: Whether the interval lies on one side of zero, with samples enough to say so.
        interval: Of 95 %, by a bootstrap over the samples; None in a summary of an older version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    row: str
    against: str
    skill: str
    difference: float
    se: float
    n: int
    clear: bool
    interval: Interval | None = None

    @property
    def verdict(self) -> str:
        """What may be said about it, in words."""
        if not self.clear:
            return "may be chance"
        return "better" if self.difference > 0 else "worse"


class Baseline(BaseModel):
    """A merge of the experts without a search, at the scale that the optimization split chose.

    Attributes:
        method: Row of `cycleqd.seams.BASELINES`.
        settings: The method's, its scale among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    settings: dict[str, float]


class Summary(BaseModel):
    """What ``report/summary.json`` holds.

    Attributes:
        best_baseline: Of the rows ``average`` and ``baseline:*`` the one with the highest mean on the test split: the
            hardest to beat, as it was picked there. None while none is measured.
        final_against_best_baseline: The paired differences of `cycleqd` and that row on the test split, the mean's
            first.
        splits: Per split, row and skill the score with n and standard error; ``mean`` is the unweighted mean over
            all skills, absent while one of them is not measured.
        mean_se: Standard error of each ``mean``, per split and row (skills' samples are independent).
        intervals: The 95 % interval of each score and ``mean``, per split and row (`cycleqd.statistics`).
        baselines: The merges without a search, by row.
        evaluations: Individuals that were scored on the optimization split to find a row's: a baseline's scales, a
            search's children. Rows that nothing was tried for are absent.
        generations: Finished generations.
        generations_planned: Generations that the run began with the intention to make, or made since.
        aggregated_after: Generations that the final model was made after; fewer than `generations` when the search
            went on since. None while there is no final model, or its record does not say.
        individuals: The individual behind each row, by id; the base has none.
        genomes: Content hash of the weights behind each row. The key on disk is ``identities``, as it always was.
        comparisons: Paired differences: `cycleqd` against every other row, and each expert against the base.
        beats: Whether `cycleqd`'s mean on the test split is above that of each other row. Says nothing of
            significance: see `comparisons`.
        wall_seconds: Wall-clock seconds by phase and in total, summed over all starts of the run.
        children_per_hour: Pace of the evolution alone (without training and final tests), None before the first.
        tokens: Tokens generated in all starts.
        versions: Package versions; several, joined by a comma, when the run was continued with others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    run_id: str
    seed: int
    model: str
    skills: list[str]
    best_baseline: str | None = None
    final_against_best_baseline: list[Comparison] = []
    splits: dict[str, dict[str, dict[str, Score | float]]]
    mean_se: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, dict[str, Interval]]] = {}
    baselines: dict[str, Baseline] = {}
    evaluations: dict[str, int] = {}
    generations: int
    generations_planned: int
    aggregated_after: int | None
    individuals: dict[str, str]
    genomes: dict[str, str] = Field(alias="identities")
    comparisons: list[Comparison]
    beats: dict[str, bool]
    wall_seconds: dict[str, float]
    children_per_hour: float | None
    tokens: int
    versions: dict[str, str]

    @property
    def rows(self) -> list[str]:
        """The rows that have a score, in the order of the tables."""
        measured = {row for rows in self.splits.values() for row in rows}
        return in_order(measured, self.skills, self.baselines)

    def score(self, split: str, row: str, skill: str) -> Score | None:
        """One skill's score of a row, or None when it was not measured."""
        value = self.splits.get(split, {}).get(row, {}).get(skill)
        return value if isinstance(value, Score) else None

    def mean(self, split: str, row: str) -> float | None:
        """The mean over all skills of a row, or None while one is missing."""
        value = self.splits.get(split, {}).get(row, {}).get("mean")
        return value if isinstance(value, float) else None


def summarise(store: RunStore, history: History | None = None) -> Summary:
    """Collects the figures of a run, finished or not.

    Args:
        store: The run.
        history: The run's `replay`, when the caller has it already.

    Raises:
        StoreError: There is no such run.
        ConfigError: Its configuration cannot be read.
    """
    config = store.config()
    history = history or replay(store)
    skills = list(config.skill_names)
    chosen = {f"baseline:{choice.candidate.label}": choice for choice in choices(store)}
    baselines = {choice.candidate.label: choice.candidate.id for choice in chosen.values()}
    compared = rows_of(Compared(skills, baselines, history.elites))
    rows = list(compared)
    individuals = {row: name for row, name in compared.items() if name != BASE and store.has_individual(name)}
    genomes = {BASE: BASE} | {row: store.individual(name).genome for row, name in individuals.items()}
    found = evaluations(store, skills, genomes)
    splits, mean_se = _splits(found, skills, rows)
    best = _best_baseline(splits.get("test", {}))
    comparisons = _comparisons(found, skills, rows, best)
    sessions = store.sessions()
    evolving = sum(history.seconds)
    return Summary(
        run_id=store.run_id,
        seed=config.seed,
        model=config.model.name,
        skills=skills,
        best_baseline=best,
        final_against_best_baseline=_against(comparisons, best),
        splits=splits,
        mean_se=mean_se,
        intervals=_intervals(found, skills, rows),
        baselines={
            row: Baseline(method=choice.candidate.method, settings=choice.candidate.settings)
            for row, choice in chosen.items()
        },
        evaluations=_spent(individuals, chosen, len(history.children)),
        generations=len(history.children),
        generations_planned=max(config.generations, len(history.children)),
        aggregated_after=_aggregated_after(store, individuals),
        individuals=individuals,
        genomes=genomes,
        comparisons=comparisons,
        beats=_beats(splits.get("test", {})),
        wall_seconds=_wall_seconds(sessions),
        children_per_hour=3600 * len(history.seconds) / evolving if evolving > 0 else None,
        tokens=sum(session.tokens for session in sessions),
        versions=_versions(sessions),
    )


def evaluations(store: RunStore, skills: Sequence[str], genomes: Mapping[str, str]) -> Evaluations:
    """The finished evaluations of the rows in `genomes` (row -> content hash of its weights)."""
    return {
        (split, row, skill): record
        for split in SPLITS
        for row, genome in genomes.items()
        for skill in skills
        if (record := store.pooled(genome, skill, split)) is not None
    }


def _spent(individuals: Mapping[str, str], chosen: Mapping[str, Choice], children: int) -> dict[str, int]:
    searched = {row: children for row in individuals if kind_of(row).searched}
    return {"average": 1} | {row: choice.evaluations for row, choice in chosen.items()} | searched


def _best_baseline(rows: Mapping[str, Mapping[str, Score | float]]) -> str | None:
    means = {
        row: value
        for row, scores in rows.items()
        if kind_of(row).merge and isinstance(value := scores.get("mean"), float)
    }
    return max(means, key=means.__getitem__) if means else None


def _against(comparisons: Sequence[Comparison], best: str | None) -> list[Comparison]:
    found = [item for item in comparisons if (item.split, item.row, item.against) == ("test", "cycleqd", best)]
    return sorted(found, key=lambda item: item.skill != "mean")


def _intervals(
    found: Evaluations, skills: Sequence[str], rows: Sequence[str]
) -> dict[str, dict[str, dict[str, Interval]]]:
    intervals: dict[str, dict[str, dict[str, Interval]]] = {}
    for split in SPLITS:
        intervals[split] = {}
        for row in rows:
            scores = {skill: found[split, row, skill].score for skill in skills if (split, row, skill) in found}
            if scores:
                intervals[split][row] = {skill: score.interval for skill, score in scores.items()}
            if len(scores) == len(skills):
                pairs = [(score.score, score.n) for score in scores.values()]
                intervals[split][row]["mean"] = interval_of_mean(pairs)
    return intervals


def _aggregated_after(store: RunStore, individuals: Mapping[str, str]) -> int | None:
    last = store.individual(individuals["cycleqd"]).generation if "cycleqd" in individuals else None
    return None if last is None else last + 1


def _splits(
    found: Evaluations, skills: Sequence[str], rows: Sequence[str]
) -> tuple[dict[str, dict[str, dict[str, Score | float]]], dict[str, dict[str, float]]]:
    splits: dict[str, dict[str, dict[str, Score | float]]] = {}
    mean_se: dict[str, dict[str, float]] = {}
    for split in SPLITS:
        splits[split], mean_se[split] = {}, {}
        for row in rows:
            scores = {skill: found[split, row, skill].score for skill in skills if (split, row, skill) in found}
            if not scores:
                continue
            splits[split][row] = {**scores}
            if len(scores) == len(skills):
                splits[split][row]["mean"] = math.fsum(score.score for score in scores.values()) / len(skills)
                mean_se[split][row] = math.sqrt(math.fsum(score.se**2 for score in scores.values())) / len(skills)
    return splits, mean_se


def _comparisons(found: Evaluations, skills: Sequence[str], rows: Sequence[str], best: str | None) -> list[Comparison]:
    result = _compare(found, "test", "cycleqd", best, skills, with_mean=True)[::-1] if best else []
    for split in SPLITS:
        for skill in skills:
            result += _compare(found, split, f"expert:{skill}", "base", [skill], with_mean=False)
        for against in rows:
            if against != "cycleqd" and (split, against) != ("test", best):
                result += _compare(found, split, "cycleqd", against, skills, with_mean=True)
    return result


def _compare(
    found: Evaluations, split: str, row: str, against: str, skills: Sequence[str], *, with_mean: bool
) -> list[Comparison]:
    differences = {}
    for skill in skills:
        first, second = found.get((split, row, skill)), found.get((split, against, skill))
        difference = paired_difference(first, second) if first and second else None
        if difference is not None:
            differences[skill] = difference
    if with_mean and len(differences) == len(skills):
        differences["mean"] = average(list(differences.values()))
    return [
        Comparison(
            split=split,
            row=row,
            against=against,
            skill=skill,
            difference=item.difference,
            se=item.se,
            n=item.n,
            clear=item.clear,
            interval=item.interval,
        )
        for skill, item in differences.items()
    ]


def _beats(rows: Mapping[str, Mapping[str, Score | float]]) -> dict[str, bool]:
    means = {row: value for row, scores in rows.items() if isinstance(value := scores.get("mean"), float)}
    if "cycleqd" not in means:
        return {}
    return {row: means["cycleqd"] > mean for row, mean in means.items() if row != "cycleqd"}


def _wall_seconds(sessions: Sequence[SessionRecord]) -> dict[str, float]:
    total = sum((session.seconds for session in sessions), Phases())
    return {phase: getattr(total, phase) for phase in PHASES} | {"total": total.total}


def _versions(sessions: Sequence[SessionRecord]) -> dict[str, str]:
    seen: dict[str, list[str]] = {}
    for session in sessions:
        for package, version in sorted(session.versions.items()):
            if version not in seen.setdefault(package, []):
                seen[package].append(version)
    return {package: ", ".join(versions) for package, versions in sorted(seen.items())}
