"""What a report's page knows of each individual: scores, origin, cells and episodes, as data and as a table.

Children are known from the generations' records alone, so that no file of theirs is read. Of all others, and of
whatever they were made of, the recipes are read: these are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cycleqd.report.history import History
from cycleqd.report.lineage import describe
from cycleqd.report.summary import Summary
from cycleqd.report.tables import TextTable, row_name, with_interval
from cycleqd.run.records import GenerationRecord, IndividualRecord, Score, SeedRecord
from cycleqd.statistics import wilson


class Member(NamedTuple):
    """An individual; the names are those of the page's data.

    Attributes:
        kind: Words that the filter takes: ``child``, ``merge``, ``expert`` or ``other``, and archives that hold it.
        names: What the tables of the report call it.
        generation: The generation that made it; None for what is not a child.
        archive: The active skill of that generation.
        origin: How it was made, where it is no child.
        parents: What it was made of, each once.
        scores: By split and skill, with intervals.
        won: Cells won, by archive.
        held: Archives that hold it now.
        links: Its episodes, by skill and split.
    """

    kind: str
    names: list[str]
    generation: int | None
    archive: str | None
    origin: str
    parents: list[str]
    scores: dict[str, dict[str, str]]
    won: dict[str, str]
    held: list[str]
    links: dict[str, str]


class Records(NamedTuple):
    """What members are known from.

    Attributes:
        summary: The run's figures.
        history: The run's archives over the generations.
        seed: The seeding's record, None before it.
        read: Gives a recipe by id, None where there is none.
        links: The pages with episodes, by individual, skill and split.
    """

    summary: Summary
    history: History
    seed: SeedRecord | None
    read: Callable[[str], IndividualRecord | None]
    links: Mapping[str, Mapping[str, str]]


def members(records: Records) -> dict[str, Member]:
    """Whoever is an expert, a row of the report, a child, in an archive, or an ancestor of one of these; by id."""
    summary, history = records.summary, records.history
    children: dict[str, list[GenerationRecord]] = {}
    for record in history.children:
        children.setdefault(record.individual, []).append(record)
    rows: dict[str, list[str]] = {}
    for row, identifier in summary.individuals.items():
        rows.setdefault(identifier, []).append(row)
    held = holders(history)
    known = dict.fromkeys([*history.experts, *rows, *children, *held])
    recipes: dict[str, IndividualRecord] = {}
    waiting = [*known, *(parent for record in history.children for parent in record.parents)]
    for name in waiting:  # which grows as ancestors are found
        if name not in children and name not in recipes and (recipe := records.read(name)) is not None:
            recipes[name] = recipe
            known[name] = None
            waiting += recipe.parents
    return {
        name: _member(name, records, children.get(name, ()), rows.get(name, []), held.get(name, []), recipes.get(name))
        for name in known
    }


def holders(history: History) -> dict[str, list[str]]:
    """The archives that hold an individual now, by its id."""
    held: dict[str, list[str]] = {}
    for skill in history.skills if history.now else ():
        for occupant in history.now.cells[skill].values() if history.now else ():
            held.setdefault(occupant.id, []).append(skill)
    return held


def _member(
    name: str,
    records: Records,
    made: Sequence[GenerationRecord],
    rows: list[str],
    held: list[str],
    recipe: IndividualRecord | None,
) -> Member:
    summary, first = records.summary, (made[0] if made else None)
    parents = first.parents if first else recipe.parents if recipe else []
    if first:
        kind = "child"
    elif parents:
        kind = "merge"
    else:
        kind = "expert" if name in records.history.experts else "other"
    return Member(
        kind=" ".join([kind, *(f"in-{skill}" for skill in held), *(["held"] if held else [])]),
        names=[row_name(row, summary) for row in rows],
        generation=first.generation if first else None,
        archive=first.archive if first else None,
        origin=describe(recipe) if recipe and (parents or not rows) else "",  # a row's name says as much
        parents=list(dict.fromkeys(parents)),
        scores=_scores(name, records, made, rows),
        won={
            skill: f"bins {', '.join(map(str, cell.bins))}" + (f", from {cell.displaced}" if cell.displaced else "")
            for record in made
            for skill, cell in record.cells.items()
        },
        held=held,
        links=dict(records.links.get(name, {})),
    )


def _scores(
    name: str, records: Records, made: Sequence[GenerationRecord], rows: Sequence[str]
) -> dict[str, dict[str, str]]:
    summary = records.summary
    scores = {split: _of_row(summary, split, rows[0]) for split in ("optimization", "test")} if rows else {}
    if made:
        scores["optimization"] = {skill: _pooled(skill, made) for skill in summary.skills}
    elif not scores.get("optimization") and records.seed and name in records.seed.scores:
        scores["optimization"] = {skill: _text(score) for skill, score in records.seed.scores[name].items()}
    return scores


def _of_row(summary: Summary, split: str, row: str) -> dict[str, str]:
    return {skill: _text(score) for skill in summary.skills if (score := summary.score(split, row, skill))}


def _text(score: Score) -> str:
    return with_interval(score.score, score.interval)


def _pooled(skill: str, records: Sequence[GenerationRecord]) -> str:
    """A child's score over all samples that it met; an individual that was scored again met others each time."""
    scores = [record.scores[skill] for record in records]
    n = sum(score.n for score in scores)
    mean = min(1.0, math.fsum(score.score * score.n for score in scores) / n)
    return with_interval(mean, wilson(mean, n))


def member_table(found: Mapping[str, Member], skills: Sequence[str]) -> TextTable:
    """All individuals, one a row, with their scores on the optimization split."""
    rows = []
    for name, member in found.items():
        own = member.scores.get("optimization", {})
        rows.append(
            (
                name,
                "–" if member.generation is None else str(member.generation),
                member.archive or "–",
                *(own.get(skill, "–") for skill in skills),
                _mean(own, skills),
                ", ".join(member.held) or "–",
                " + ".join(member.parents) or "–",
            )
        )
    header = (
        "individual",
        "generation",
        "of archive",
        *(f"{skill}, %" for skill in skills),
        "mean",
        "in now",
        "parents",
    )
    return TextTable("Individuals", header, tuple(rows))


def _mean(scores: Mapping[str, str], skills: Sequence[str]) -> str:
    if len(scores) < len(skills):
        return "–"
    return f"{math.fsum(float(scores[skill].partition(' ')[0]) for skill in skills) / len(skills):.1f}"
