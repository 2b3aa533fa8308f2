"""Listings for the terminal: runs and individuals."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cycleqd.report.lineage import describe
from cycleqd.report.summary import SPLITS, summarise
from cycleqd.report.tables import duration, percent, scored
from cycleqd.run.records import IndividualRecord, Score
from cycleqd.run.store import RunStore


def runs_table(stores: Sequence[RunStore]) -> Table:
    """One line per run; a run that cannot be read says why."""
    table = _table("run", "skills", "seed", "generations", "time", "base", "CycleQD", "report")
    for store in stores:
        try:
            summary = summarise(store)
        except Exception as error:  # whatever a damaged run, or one of another version, makes of its reader
            table.add_row(Text(store.run_id), Text(str(error).partition("\n")[0], style="red"))
            continue
        base, final = (summary.mean("test", row) for row in ("base", "cycleqd"))
        table.add_row(
            Text(summary.run_id, style="bold"),
            ", ".join(summary.skills),
            str(summary.seed),
            f"{summary.generations} of {summary.generations_planned}",
            duration(summary.wall_seconds["total"]),
            "–" if base is None else percent(base),
            "–" if final is None else percent(final),
            "yes" if store.exists("report/index.html") else "no",
        )
    table.caption = "base and CycleQD: mean over all skills on the test split, %"
    return table


def individuals_table(store: RunStore) -> Table:
    """One line per individual: where it comes from, its optimization scores, the archives whose cells it won."""
    skills = store.config().skill_names
    won = {record.individual: record.cells for record in store.generations()}
    table = _table("individual", "parents", *(f"{skill}, %" for skill in skills), "mean", "cells won in")
    for record in store.individuals():
        scores = [_score(store, record, skill, "optimization") for skill in skills]
        known = [score.score for score in scores if score]
        table.add_row(
            Text(record.id, style="bold"),
            Text(" + ".join(record.parents) or "–"),
            *(_percentages(score) for score in scores),
            percent(sum(known) / len(known)) if len(known) == len(skills) else "–",
            ", ".join(won.get(record.id, {})) or "–",
        )
    return table


def individual_tables(store: RunStore, identifier: str) -> list[Table]:
    """Recipe, scores and cells of one individual."""
    record = store.individual(identifier)
    recipe = _table("individual", record.id)
    for name, value in (
        ("origin", describe(record)),
        ("parents", ", ".join(record.parents) or "–"),
        ("coefficients", ", ".join(f"{value:.4f}" for value in record.coefficients) or "–"),
        ("weights", record.genome),
    ):
        recipe.add_row(name, Text(value))
    generation = next((item for item in store.generations() if item.individual == identifier), None)
    if generation is not None:
        cells = (
            f"{skill} {tuple(cell.bins)}" + (f" from {cell.displaced}" if cell.displaced else "")
            for skill, cell in generation.cells.items()
        )
        recipe.add_row("cells won", Text("; ".join(cells) or "none"))
        recipe.add_row("time", duration(generation.seconds.total))
    scores = _table("scores, %", *SPLITS)
    for skill in store.config().skill_names:
        scores.add_row(skill, *(_percentages(_score(store, record, skill, split), with_n=True) for split in SPLITS))
    return [recipe, scores]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table


def _score(store: RunStore, record: IndividualRecord, skill: str, split: str) -> Score | None:
    evaluation = store.pooled(record.genome, skill, split)
    return evaluation.score if evaluation else None


def _percentages(score: Score | None, *, with_n: bool = False) -> str:
    if score is None:
        return "–"
    return scored(score) + (f"  (n {score.n})" if with_n else "")
