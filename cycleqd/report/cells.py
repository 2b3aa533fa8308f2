"""Archives as inline SVG whose cells can be asked: one picture for each pair of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from cycleqd.report.history import Axis, History, edge_labels
from cycleqd.report.members import Member
from cycleqd.report.tables import percent

if TYPE_CHECKING:
    from cycleqd.search.archive import Cell, Occupant

SIZE: Final = 300
"""Of a grid, in units of the picture's own."""
LEFT, RIGHT, TOP, BOTTOM = 40, 16, 12, 40
"""Room around the grid for ticks and names."""
_FAINTEST: Final = 0.15
"""Opacity of an archive's lowest quality, so that it differs from an empty cell."""


class Tick(NamedTuple):
    """A labelled edge of bins."""

    at: float
    text: str


class Square(NamedTuple):
    """An occupied cell of a picture.

    Attributes:
        id: The individual that is shown.
        strength: Opacity, by quality.
        expert: Whether an expert's place is here.
        told: What is said of it, a line each.
        behind: Individuals of the same square along further axes, of lower quality.
    """

    id: str
    x: float
    y: float
    width: float
    height: float
    strength: float
    expert: bool
    told: list[str]
    behind: list[str]


class View(NamedTuple):
    """An archive along two of its axes, or as many as it has."""

    axes: str
    x: str
    y: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    squares: list[Square]


class ArchivePicture(NamedTuple):
    """An archive: one view for each pair of axes, and the ends of its scale."""

    skill: str
    told: str
    views: list[View]
    low: str
    high: str


def archive_picture(history: History, skill: str, known: Mapping[str, Member]) -> ArchivePicture:
    """One archive as it is now.

    Args:
        history: The run's archives over the generations.
        skill: The archive's.
        known: All individuals, by id.
    """
    axes = history.axes[skill]
    cells: Mapping[Cell, Occupant] = history.now.cells[skill] if history.now else {}
    qualities = [occupant.scores[skill] for occupant in cells.values()]
    low, high = min(qualities, default=0.0), max(qualities, default=0.0)
    pairs: list[tuple[int, ...]] = list(combinations(range(len(axes)), 2)) or [tuple(range(len(axes)))]
    return ArchivePicture(
        skill,
        f"{skill} archive: {len(cells)} of {history.capacity[skill]} cells",
        [_view(history, skill, known, pair, (low, high)) for pair in pairs],
        percent(low),
        percent(high),
    )


def _view(
    history: History, skill: str, known: Mapping[str, Member], pair: tuple[int, ...], scale: tuple[float, float]
) -> View:
    axes = history.axes[skill]
    across, up = ([axes[number] for number in pair] + [None, None])[:2]

    def place_of(cell: Cell) -> tuple[int, ...]:
        return tuple(cell[number] for number in pair) + (0,) * (2 - len(pair))

    shown: dict[tuple[int, ...], list[Occupant]] = {}
    for cell, occupant in (history.now.cells[skill] if history.now else {}).items():
        shown.setdefault(place_of(cell), []).append(occupant)
    experts = {place_of(cell) for (archive, _), cell in history.expert_cells.items() if archive == skill}
    wide, tall = SIZE / _bins(across), SIZE / _bins(up)
    squares = []
    for (column, line), occupants in sorted(shown.items()):
        best, *behind = sorted(occupants, key=lambda one: -one.scores[skill])
        squares.append(
            Square(
                best.id,
                round(LEFT + column * wide, 2),
                round(TOP + SIZE - (line + 1) * tall, 2),
                round(wide, 2),
                round(tall, 2),
                round(strength(best.scores[skill], *scale), 3),
                (column, line) in experts,
                _told(best, known, history.skills, skill, len(behind)),
                [one.id for one in behind],
            )
        )
    return View(
        " and ".join(axis.skill for axis in (across, up) if axis),
        f"{across.skill}, %" if across else "",
        f"{up.skill}, %" if up else "",
        [Tick(round(LEFT + at * SIZE, 2), text) for at, text in (edge_labels(across.edges) if across else ())],
        [Tick(round(TOP + SIZE * (1 - at), 2), text) for at, text in (edge_labels(up.edges) if up else ())],
        squares,
    )


def _told(one: Occupant, known: Mapping[str, Member], skills: Sequence[str], skill: str, behind: int) -> list[str]:
    """The individual, its scores with intervals, and what the picture does not show."""
    scores = known[one.id].scores.get("optimization", {}) if one.id in known else {}
    placed = {name: percent(one.scores[name]) for name in skills}
    lines = [one.id, *(f"{name} {scores.get(name, text)} %" for name, text in placed.items())]
    if any(scores.get(name, text).partition(" ")[0] != text for name, text in placed.items()):
        lines.append(f"placed here by {', '.join(f'{name} {text}' for name, text in placed.items())}")
    return lines + ([f"the best in {skill} of {behind + 1} in this square"] if behind else [])


def strength(quality: float, low: float, high: float) -> float:
    """How strongly a cell is painted; an archive in which all score alike is neither high nor low."""
    return 0.5 if high <= low else _FAINTEST + (1 - _FAINTEST) * (quality - low) / (high - low)


def _bins(axis: Axis | None) -> int:
    return len(axis.edges) - 1 if axis else 1
