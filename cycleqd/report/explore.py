"""``report/explore.html``: archives whose cells can be asked, a table of all individuals, losses of the experts.

Everything comes from the records of seeding and generations, so that no individual's files are read. One page without
anything from outside; its script only shows, sorts and filters what the page holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from cycleqd.report.history import Axis, History
from cycleqd.report.losses import Training, loss_chart
from cycleqd.report.summary import Summary
from cycleqd.report.tables import TextTable, percent, row_name, with_interval
from cycleqd.report.templates import render
from cycleqd.report.transcripts import transcript_key
from cycleqd.run.records import GenerationRecord
from cycleqd.statistics import wilson

if TYPE_CHECKING:
    from cycleqd.search.archive import Cell, Occupant

_SIZE: Final = 300
"""Of an archive's picture, in units of its own, without the room for its axes."""
_LEFT, _BOTTOM = 40, 34
_TICKS: Final = 5
"""Labelled edges of bins along an axis, at most."""
_FAINTEST: Final = 0.15
"""Opacity of an archive's lowest quality, so that it differs from an empty cell."""


class _Member(NamedTuple):
    """What the page knows of an individual; the names are those of its data.

    Attributes:
        kind: Words that the filter takes: ``child``, ``expert`` or ``merge``, and the archives that hold it.
        names: What the tables of the report call it.
        generation: The generation that made it; None for what is not a child.
        archive: The active skill of that generation.
        parents: Its parents; not known here for what is not a child.
        scores: By split and skill, with intervals where they are known.
        won: Cells won, by archive.
        held: Archives that hold it now.
        links: Its transcripts.
    """

    kind: str
    names: list[str]
    generation: int | None
    archive: str | None
    parents: list[str]
    scores: dict[str, dict[str, str]]
    won: dict[str, str]
    held: list[str]
    links: dict[str, str]


class _Tick(NamedTuple):
    at: float
    text: str


class _Square(NamedTuple):
    id: str
    x: float
    y: float
    width: float
    height: float
    strength: float
    expert: bool
    told: str


class _Archive(NamedTuple):
    skill: str
    told: str
    x: str
    y: str
    x_ticks: list[_Tick]
    y_ticks: list[_Tick]
    squares: list[_Square]
    low: str
    high: str


def explore_page(summary: Summary, history: History, trained: Mapping[str, Training] | None = None) -> str:
    """The page.

    Args:
        summary: The run's figures.
        history: The run's archives over the generations.
        trained: How the experts' training went, by skill.
    """
    losses, legend = loss_chart(trained) if trained else ("", [])
    members = _members(summary, history)
    return render(
        "explore.html.j2",
        title=f"Explore run {summary.run_id}",
        run=summary.run_id,
        archives=[_archive(history, skill) for skill in history.skills] if history.now else [],
        individuals=_table(members, summary.skills),
        losses=losses,
        legend=legend,
        kinds=[member.kind for member in members.values()],
        # A closing tag in a name must not end the script that holds the data.
        data=json.dumps(
            {"skills": summary.skills, "members": {name: member._asdict() for name, member in members.items()}}
        ).replace("<", "\\u003c"),
        size=_SIZE,
        left=_LEFT,
        width=_LEFT + _SIZE + 8,
        height=_SIZE + _BOTTOM + 6,
    )


def _members(summary: Summary, history: History) -> dict[str, _Member]:
    """What the page knows of every individual, by id."""
    children: dict[str, list[GenerationRecord]] = {}
    for record in history.children:
        children.setdefault(record.individual, []).append(record)
    rows: dict[str, list[str]] = {}
    for row, identifier in summary.individuals.items():
        rows.setdefault(identifier, []).append(row)
    now = history.now.cells if history.now else {}
    held: dict[str, list[str]] = {}
    for skill in history.skills:
        for occupant in now.get(skill, {}).values():
            held.setdefault(occupant.id, []).append(skill)
    known = dict.fromkeys([*history.experts, *rows, *children])
    return {
        name: _member(name, summary, history, children.get(name, []), rows.get(name, []), held.get(name, []))
        for name in known
    }


def _member(
    name: str,
    summary: Summary,
    history: History,
    records: Sequence[GenerationRecord],
    rows: Sequence[str],
    held: Sequence[str],
) -> _Member:
    scores = {split: _of_row(summary, split, rows[0]) for split in ("optimization", "test")} if rows else {}
    if records:
        scores["optimization"] = {skill: _pooled(records, skill) for skill in summary.skills}
    elif name in history.experts and not scores.get("optimization"):
        scores["optimization"] = {skill: percent(value) for skill, value in history.experts[name].items()}
    first = records[0] if records else None
    won = {
        skill: f"bins {', '.join(map(str, cell.bins))}" + (f", from {cell.displaced}" if cell.displaced else "")
        for record in records
        for skill, cell in record.cells.items()
    }
    kinds = ["child" if first else "expert" if name in history.experts else "merge"]
    kinds += [f"in-{skill}" for skill in held] + (["held"] if held else [])
    return _Member(
        kind=" ".join(kinds),
        names=[row_name(row, summary) for row in rows],
        generation=first.generation if first else None,
        archive=first.archive if first else None,
        parents=list(dict.fromkeys(first.parents)) if first else [],
        scores=scores,
        won=won,
        held=list(held),
        links={
            f"{skill}, {split}": transcript_key(rows[0], skill, split)
            for split, found in scores.items()
            if rows
            for skill in found
        },
    )


def _of_row(summary: Summary, split: str, row: str) -> dict[str, str]:
    found = {skill: summary.score(split, row, skill) for skill in summary.skills}
    return {skill: with_interval(score.score, score.interval) for skill, score in found.items() if score}


def _pooled(records: Sequence[GenerationRecord], skill: str) -> str:
    """A child's score over all samples that it met; an individual that was scored again met others each time."""
    scores = [record.scores[skill] for record in records]
    n = sum(score.n for score in scores)
    mean = min(1.0, math.fsum(score.score * score.n for score in scores) / n)
    return with_interval(mean, wilson(mean, n))


def _table(members: Mapping[str, _Member], skills: Sequence[str]) -> TextTable:
    rows = []
    for name, member in members.items():
        own = member.scores.get("optimization", {})
        rows.append(
            (
                name,
                "–" if member.generation is None else str(member.generation),
                member.archive or "–",
                " + ".join(member.parents) or "–",
                *(own.get(skill, "–") for skill in skills),
                _mean(own, skills),
                ", ".join(member.held) or "–",
            )
        )
    header = (
        "individual",
        "generation",
        "of archive",
        "parents",
        *(f"{skill}, %" for skill in skills),
        "mean",
        "in now",
    )
    return TextTable("Individuals", header, tuple(rows))


def _mean(scores: Mapping[str, str], skills: Sequence[str]) -> str:
    if len(scores) < len(skills):
        return "–"
    return f"{math.fsum(float(scores[skill].partition(' ')[0]) for skill in skills) / len(skills):.1f}"


def _archive(history: History, skill: str) -> _Archive:
    axes = history.axes[skill]
    cells: Mapping[Cell, Occupant] = history.now.cells[skill] if history.now else {}
    across, up = (axes[0] if axes else None), (axes[1] if len(axes) > 1 else None)
    shown: dict[tuple[int, int], tuple[Cell, Occupant]] = {}
    for cell, occupant in cells.items():  # along further axes the best is shown
        place = (cell[0] if across else 0, cell[1] if up else 0)
        if place not in shown or shown[place][1].scores[skill] < occupant.scores[skill]:
            shown[place] = cell, occupant
    qualities = [occupant.scores[skill] for _, occupant in shown.values()]
    low, high = min(qualities, default=0.0), max(qualities, default=0.0)
    experts = {cell for (archive, _), cell in history.expert_cells.items() if archive == skill}
    wide, tall = _SIZE / _bins(across), _SIZE / _bins(up)
    squares = [
        _Square(
            occupant.id,
            round(_LEFT + column * wide, 2),
            round(_SIZE - (line + 1) * tall + 4, 2),
            round(wide, 2),
            round(tall, 2),
            round(_strength(occupant.scores[skill], low, high), 3),
            cell in experts,
            f"{occupant.id}: " + ", ".join(f"{name} {percent(value)} %" for name, value in occupant.scores.items()),
        )
        for (column, line), (cell, occupant) in sorted(shown.items())
    ]
    more = f", the best along {', '.join(axis.skill for axis in axes[2:])}" if len(axes) > 2 else ""
    return _Archive(
        skill,
        f"{skill} archive: {len(cells)} of {history.capacity[skill]} cells{more}",
        f"{across.skill}, %" if across else "",
        f"{up.skill}, %" if up else "",
        [_Tick(round(_LEFT + at * _SIZE, 2), text) for at, text in _edges(across)],
        [_Tick(round(_SIZE * (1 - at) + 4, 2), text) for at, text in _edges(up)],
        squares,
        percent(low),
        percent(high),
    )


def _strength(quality: float, low: float, high: float) -> float:
    """How strongly a cell is painted; an archive in which all score alike is neither high nor low."""
    return 0.5 if high <= low else _FAINTEST + (1 - _FAINTEST) * (quality - low) / (high - low)


def _bins(axis: Axis | None) -> int:
    return len(axis.edges) - 1 if axis else 1


def _edges(axis: Axis | None) -> list[tuple[float, str]]:
    """Some edges of the bins: where they lie along the axis, and what they are in percent."""
    if axis is None:
        return []
    bins = _bins(axis)
    step = max(1, math.ceil(bins / _TICKS))
    return [(edge / bins, f"{100 * axis.edges[edge]:.0f}") for edge in range(0, bins + 1, step)]
