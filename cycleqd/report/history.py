"""The archives over the generations, rebuilt from the records of the seeding and of every generation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cycleqd.run.records import GenerationRecord, means
from cycleqd.run.store import RunStore

if TYPE_CHECKING:
    from cycleqd.search.archive import Archives, Cell, Occupant

Scores = Mapping[str, float]
"""Scores in [0, 1] per skill."""

TICKS = 5
"""Parts, at most, into which the labelled edges of bins cut an axis."""

SNAPSHOTS = 4
"""How many states of the archives are kept for the figures, the experts' and the last one among them."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One behaviour characteristic of an archive: another skill's score, cut into bins.

    Attributes:
        skill: The other skill.
        edges: Edges of the bins, ascending; one more than there are bins.
    """

    skill: str
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The archives after `generations` generations: the occupied cells per skill."""

    generations: int
    cells: Mapping[str, Mapping[Cell, Occupant]]


@dataclass(frozen=True, slots=True)
class Progress:
    """The archives in figures, after some number of generations.

    Attributes:
        best: Highest score in its own skill, per archive.
        mean: Mean score in its own skill over an archive's individuals, per archive.
        filled: Occupied cells, per archive.
        best_overall: Highest mean over all skills of any individual in any archive.
        mean_overall: Mean over all skills, averaged over the distinct individuals of all archives.
    """

    best: Scores
    mean: Scores
    filled: Mapping[str, int]
    best_overall: float
    mean_overall: float


@dataclass(frozen=True, slots=True)
class History:
    """A run's search, from the experts to the last finished generation.

    Attributes:
        skills: In the order of the cycle.
        axes: The behaviour characteristics of each archive, in the order of its cells' bins.
        capacity: Cells per archive.
        experts: The experts' scores by id; empty before the seeding.
        expert_cells: Where an expert belongs in an archive, by (skill, expert's id), whether or not it is still there.
        snapshots: States of the archives, `SNAPSHOTS` at most, the last one being the present.
        progress: One more than there are generations: the first is the experts alone.
        children: The generations' records.
        elites: Id of each archive's elite.
    """

    skills: tuple[str, ...]
    axes: Mapping[str, tuple[Axis, ...]]
    capacity: Mapping[str, int]
    experts: Mapping[str, Scores]
    expert_cells: Mapping[tuple[str, str], Cell]
    snapshots: tuple[Snapshot, ...]
    progress: tuple[Progress, ...]
    children: tuple[GenerationRecord, ...]
    elites: Mapping[str, str]

    @property
    def seconds(self) -> list[float]:
        """Wall-clock seconds of each generation."""
        return [record.seconds.total for record in self.children]

    @property
    def now(self) -> Snapshot | None:
        """The archives after the last finished generation, or None before the seeding."""
        return self.snapshots[-1] if self.snapshots else None


def replay(store: RunStore) -> History:
    """The history of a run, as far as it has got.

    Raises:
        StoreError: There is no such run.
    """
    from cycleqd.run.replay import search_after_each, search_begun  # not above: lists and tables need no search

    config = store.config()
    seed = store.seed()
    if seed is None:
        return History(config.skill_names, {}, {}, {}, {}, (), (), (), {})
    children = store.generations()
    return rebuild(
        search_begun(store, seed).archives,
        {name: means(seed.scores[name]) for name in seed.experts},
        children,
        (search.archives for _, search in search_after_each(store, seed, children)),
    )


def rebuild(
    archives: Archives, experts: Mapping[str, Scores], children: Sequence[GenerationRecord], states: Iterable[Archives]
) -> History:
    """The history of archives.

    Args:
        archives: Before the first generation.
        experts: The experts' scores by id, in the order in which they were offered; at least one.
        children: The generations' records in order.
        states: The archives after each of them.
    """
    shown = {round(len(children) * step / (SNAPSHOTS - 1)) for step in range(SNAPSHOTS)}
    progress, snapshots = [progress_of(archives)], [_snapshot(archives, 0)]
    for finished, state in enumerate(states, start=1):
        archives = state
        progress.append(progress_of(archives))
        if finished in shown:
            snapshots.append(_snapshot(archives, finished))
    return History(
        skills=archives.skills,
        axes={
            skill: tuple(Axis(other, grid.edges) for other, grid in archives[skill].grids.items())
            for skill in archives.skills
        },
        capacity={skill: archives[skill].capacity for skill in archives.skills},
        experts=dict(experts),
        expert_cells={
            (skill, name): archives[skill].cell_of(scores)
            for skill in archives.skills
            for name, scores in experts.items()
        },
        snapshots=tuple(snapshots),
        progress=tuple(progress),
        children=tuple(children),
        elites={skill: archives[skill].elite().id for skill in archives.skills},
    )


def _snapshot(archives: Archives, finished: int) -> Snapshot:
    return Snapshot(finished, {skill: dict(archives[skill].cells) for skill in archives.skills})


def edge_labels(edges: Sequence[float]) -> list[tuple[float, str]]:
    """Some edges of an axis' bins: where each lies along the axis, in [0, 1], and what it is in percent."""
    bins = len(edges) - 1
    step = max(1, math.ceil(bins / TICKS))
    digits = 0 if edges[step] - edges[0] >= 0.01 else 1  # or two labels would read alike
    return [(edge / bins, f"{100 * edges[edge]:.{digits}f}") for edge in range(0, bins + 1, step)]


def progress_of(archives: Archives) -> Progress:
    """The archives in figures, as they are."""
    individuals = {one.id: one.scores for skill in archives.skills for one in archives[skill].occupants()}
    means = [math.fsum(scores.values()) / len(scores) for scores in individuals.values()]
    return Progress(
        best={skill: archives[skill].best for skill in archives.skills},
        mean={skill: archives[skill].mean for skill in archives.skills},
        filled={skill: len(archives[skill].cells) for skill in archives.skills},
        best_overall=max(means),
        mean_overall=math.fsum(means) / len(means),
    )
