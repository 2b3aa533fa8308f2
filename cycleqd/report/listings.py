"""Listings of runs and individuals: as entries, which ``--json`` prints, and as tables of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from cycleqd.report.lineage import describe
from cycleqd.report.summary import SPLITS
from cycleqd.report.tables import TextTable, duration, percent, with_interval
from cycleqd.run.names import AGGREGATE, BASE
from cycleqd.run.records import GenerationRecord, IndividualRecord, Score, WonCell
from cycleqd.run.store import RunStore
from cycleqd.statistics import Interval


class RunEntry(BaseModel):
    """One run in a list of runs.

    Attributes:
        run_id: Its id.
        fault: Why it cannot be read, in one line; then nothing else is known of it.
        skills: In the order of the cycle.
        seed: Of its draws.
        generations: Finished generations.
        generations_planned: Generations that it is to have.
        seconds: Wall-clock time of all its starts.
        base: The base model's mean over all skills on the test split; None while one is not measured.
        cycleqd: Likewise the final model's.
        report: Whether its report is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    fault: str | None = None
    skills: list[str] = []
    seed: int | None = None
    generations: int | None = None
    generations_planned: int | None = None
    seconds: float | None = None
    base: float | None = None
    cycleqd: float | None = None
    report: bool = False


class ScoreEntry(BaseModel):
    """A mean over samples.

    Attributes:
        score: The mean, in [0, 1].
        n: Samples.
        se: Its standard error.
        low: Lower end of its 95 % interval (Wilson).
        high: Upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    n: int
    se: float
    low: float
    high: float

    @classmethod
    def of(cls, score: Score) -> ScoreEntry:
        """Of a score as records have it."""
        interval = score.interval
        return cls(score=score.score, n=score.n, se=score.se, low=interval.low, high=interval.high)


class IndividualEntry(BaseModel):
    """One individual with what came of it.

    Attributes:
        recipe: How it was made.
        origin: The same in a line.
        scores: By split and skill; what was not measured is absent.
        mean: The mean over all skills on the optimization split; None while one is not measured.
        cells: Cells won, by archive; the last time, where it was scored again.
        seconds: Wall-clock time of its generation; None for what is not a child.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: IndividualRecord
    origin: str
    scores: dict[str, dict[str, ScoreEntry]]
    mean: float | None
    cells: dict[str, WonCell]
    seconds: float | None


def run_entries(stores: Sequence[RunStore]) -> list[RunEntry]:
    """One entry per run; a run that cannot be read says why."""
    return [_run_entry(store) for store in stores]


def individual_entries(store: RunStore, identifiers: Sequence[str] | None = None) -> list[IndividualEntry]:
    """One entry per individual.

    Args:
        store: The run.
        identifiers: Whose; all of the run's unless given.
    """
    skills = store.config().skill_names
    generations: dict[str, list[GenerationRecord]] = {}
    for generation in store.generations():
        generations.setdefault(generation.individual, []).append(generation)
    records = store.individuals() if identifiers is None else [store.individual(name) for name in identifiers]
    return [_individual_entry(store, record, skills, generations.get(record.id, [])) for record in records]


def runs_table(entries: Sequence[RunEntry]) -> TextTable:
    """One line per run."""
    header = ("run", "skills", "seed", "generations", "time", "base", "CycleQD", "report", "fault")
    faults = any(entry.fault for entry in entries)
    return TextTable(
        "",
        header if faults else header[:-1],
        tuple(_run_line(entry, faults=faults) for entry in entries),
        prose=frozenset({8} if faults else ()),
        left=frozenset({1}),
        note="base and CycleQD: mean over all skills on the test split, %",
    )


def _run_line(entry: RunEntry, *, faults: bool) -> tuple[str, ...]:
    if entry.fault is not None:
        return (entry.run_id, *[""] * 7, entry.fault)
    line = (
        entry.run_id,
        ", ".join(entry.skills),
        str(entry.seed),
        f"{entry.generations} of {entry.generations_planned}",
        duration(entry.seconds or 0.0),
        "–" if entry.base is None else percent(entry.base),
        "–" if entry.cycleqd is None else percent(entry.cycleqd),
        "yes" if entry.report else "no",
    )
    return (*line, "") if faults else line


def individuals_table(entries: Sequence[IndividualEntry], skills: Sequence[str]) -> TextTable:
    """One line per individual: where it comes from, its optimization scores, the archives whose cells it won."""
    rows = tuple(
        (
            entry.recipe.id,
            " + ".join(entry.recipe.parents) or "–",
            *(_percentages(entry.scores.get("optimization", {}).get(skill)) for skill in skills),
            "–" if entry.mean is None else percent(entry.mean),
            ", ".join(entry.cells) or "–",
        )
        for entry in entries
    )
    header = ("individual", "parents", *(f"{skill}, %" for skill in skills), "mean", "cells won in")
    return TextTable("", header, rows, left=frozenset({1, len(header) - 1}))


def individual_tables(entry: IndividualEntry, skills: Sequence[str]) -> list[TextTable]:
    """Recipe, scores and cells of one individual."""
    record = entry.recipe
    recipe = [
        ("origin", entry.origin),
        ("parents", ", ".join(record.parents) or "–"),
        ("coefficients", ", ".join(f"{value:.4f}" for value in record.coefficients) or "–"),
        ("weights", record.genome),
    ]
    if entry.seconds is not None:
        cells = (
            f"{skill} {tuple(cell.bins)}" + (f" from {cell.displaced}" if cell.displaced else "")
            for skill, cell in entry.cells.items()
        )
        recipe += [("cells won", "; ".join(cells) or "none"), ("time", duration(entry.seconds))]
    scores = tuple(
        (skill, *(_percentages(entry.scores.get(split, {}).get(skill), with_n=True) for split in SPLITS))
        for skill in skills
    )
    return [
        TextTable("", ("individual", record.id), tuple(recipe), prose=frozenset({1})),
        TextTable("", ("scores, %", *SPLITS), scores),
    ]


def _run_entry(store: RunStore) -> RunEntry:
    try:
        return _summed_up(store)
    except Exception as error:  # whatever a damaged run, or one of another version, makes of its reader
        return RunEntry(run_id=store.run_id, fault=str(error).partition("\n")[0] or type(error).__name__)


def _summed_up(store: RunStore) -> RunEntry:
    """What `summarise` says, without a replay of the search: a list of runs is to be there at once."""
    config, generations = store.config(), len(store.generations())
    store.seed()  # raises where it is damaged, or of a newer version
    final = store.individual(AGGREGATE).genome if store.has_individual(AGGREGATE) else None
    return RunEntry(
        run_id=store.run_id,
        skills=list(config.skill_names),
        seed=config.seed,
        generations=generations,
        generations_planned=max(config.generations, generations),
        seconds=sum(session.seconds.total for session in store.sessions()),
        base=_test_mean(store, config.skill_names, BASE),
        cycleqd=None if final is None else _test_mean(store, config.skill_names, final),
        report=store.exists("report/index.html"),
    )


def _test_mean(store: RunStore, skills: Sequence[str], genome: str) -> float | None:
    found = [record.score.score for skill in skills if (record := store.pooled(genome, skill, "test"))]
    return math.fsum(found) / len(skills) if len(found) == len(skills) else None


def _individual_entry(
    store: RunStore, record: IndividualRecord, skills: Sequence[str], generations: Sequence[GenerationRecord]
) -> IndividualEntry:
    scores = {
        split: {
            skill: ScoreEntry.of(found.score)
            for skill in skills
            if (found := store.pooled(record.genome, skill, split)) is not None
        }
        for split in SPLITS
    }
    known = [score.score for score in scores["optimization"].values()]
    cells: dict[str, WonCell] = {}
    for generation in generations:
        cells |= generation.cells
    return IndividualEntry(
        recipe=record,
        origin=describe(record),
        scores=scores,
        mean=sum(known) / len(known) if known and len(known) == len(skills) else None,
        cells=cells,
        seconds=generations[0].seconds.total if generations else None,
    )


def _percentages(score: ScoreEntry | None, *, with_n: bool = False) -> str:
    if score is None:
        return "–"
    shown = with_interval(score.score, Interval(score.low, score.high))
    return shown + (f"  (n {score.n})" if with_n else "")
