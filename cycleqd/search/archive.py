"""Archives: one MAP-Elites grid per skill, that skill's score as quality and the others' scores as coordinates.

Mouret and Clune 2015, https://arxiv.org/abs/1504.04909, in the cyclic form of CycleQD (Kuroki et al. 2024,
https://arxiv.org/abs/2410.14735). Plain data about ids and scores: no tensors here.

Public: `Grid` and `grids_from_experts`, `Archive` (one skill), `Archives` (all of them, taking turns).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Cell = tuple[int, ...]
"""A bin per behaviour characteristic; empty where there is but one skill."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A score's range cut evenly into bins.

    Attributes:
        lower: Lower end of the range.
        upper: Upper end, above `lower`.
        bins: Number of bins, at least 1.
    """

    lower: float
    upper: float
    bins: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"a grid needs finite lower < upper, got {self.lower} and {self.upper}")
        if self.bins < 1:
            raise ValueError(f"a grid needs at least one bin, got {self.bins}")

    def bin(self, value: float) -> int:
        """The bin of a finite value, in [0, bins); values outside the range go to the first and the last bin."""
        if value <= self.lower:
            return 0
        if value >= self.upper:
            return self.bins - 1
        # Rounding may lift a value just below the upper end onto it.
        return min(int((value - self.lower) / (self.upper - self.lower) * self.bins), self.bins - 1)

    @property
    def edges(self) -> tuple[float, ...]:
        """The bins' edges, ascending; one more than there are bins."""
        width = (self.upper - self.lower) / self.bins
        return (*(self.lower + width * i for i in range(self.bins)), self.upper)


def grids_from_experts(
    scores: Sequence[Mapping[str, float]], *, bins: int, lower: float = 0.85, upper: float = 1.15
) -> dict[str, Grid]:
    """One grid per skill, [lower · min, upper · max] of the experts' scores (CycleQD, experiment set-up).

    Where that range is empty (all experts score 0) the grid covers [0, 1].

    Args:
        scores: Each expert's scores by skill, in [0, 1]; at least one expert.
        bins: Bins per grid, at least 1.
        lower: Factor on the lowest score.
        upper: Factor on the highest score.

    Raises:
        ValueError: No experts, differing skills, or a score that is not in [0, 1].
    """
    if not scores:
        raise ValueError("grids need at least one expert's scores")
    skills = tuple(scores[0])
    for expert in scores:
        _check_scores(skills, expert)
    grids = {}
    for skill in skills:
        low = lower * min(expert[skill] for expert in scores)
        high = upper * max(expert[skill] for expert in scores)
        grids[skill] = Grid(low, high, bins) if low < high else Grid(0.0, 1.0, bins)
    return grids


@dataclass(frozen=True, slots=True)
class Occupant:
    """The individual that holds a cell.

    Attributes:
        id: The individual.
        scores: Its scores by skill, in [0, 1].
        generation: When it was offered; later is larger.
    """

    id: str
    scores: Mapping[str, float]
    generation: int


class Win(NamedTuple):
    """A cell that an individual won.

    Attributes:
        cell: The bins, in the order of the skills without the archive's own.
        displaced: Id of the individual that held the cell, or None.
    """

    cell: Cell
    displaced: str | None


class Archive:
    """The grid of one skill: at most one individual per cell, that of the highest score in the archive's skill.

    Attributes:
        skill: The skill whose score is quality.
        grids: Grids of the other skills, in the order of the cells' bins.
        cells: The occupied cells.

    Args:
        skill: The skill whose score is quality.
        grids: Grids of the other skills. None of them gives an archive of a single cell.

    Raises:
        ValueError: `grids` holds the archive's own skill.
    """

    def __init__(self, skill: str, grids: Mapping[str, Grid]) -> None:
        if skill in grids:
            raise ValueError(f"the archive of {skill} is not indexed by its own score; leave its grid out")
        self.skill = skill
        self.grids = dict(grids)
        self.cells: dict[Cell, Occupant] = {}

    def cell_of(self, scores: Mapping[str, float]) -> Cell:
        """Where scores belong, occupied or not."""
        return tuple(grid.bin(scores[skill]) for skill, grid in self.grids.items())

    def insert(self, individual: str, scores: Mapping[str, float], generation: int) -> Win | None:
        """Offers an individual; it takes its cell if that is empty or its score is strictly higher.

        Args:
            individual: Its id.
            scores: Its scores, one for each skill, in [0, 1].
            generation: When it is offered.

        Returns:
            What it won, or None where the incumbent stays (also on a tie).

        Raises:
            ValueError: Skills are missing or superfluous, or a score is NaN, infinite or outside [0, 1].
        """
        _check_scores((self.skill, *self.grids), scores)
        cell = self.cell_of(scores)
        incumbent = self.cells.get(cell)
        if incumbent is not None and scores[self.skill] <= incumbent.scores[self.skill]:
            return None
        self.cells[cell] = Occupant(individual, {name: float(score) for name, score in scores.items()}, generation)
        return Win(cell, incumbent.id if incumbent else None)

    def occupants(self) -> list[Occupant]:
        """All individuals, in the order of their cells: the same for the same content."""
        return [self.cells[cell] for cell in sorted(self.cells)]

    def elite(self) -> Occupant:
        """The individual of the highest score in the archive's skill; of several, the most recent.

        Individuals of the same score and generation are told apart by their ids, the last one winning.

        Raises:
            ValueError: The archive is empty.
        """
        if not self.cells:
            raise ValueError(f"the archive of {self.skill} is empty; offer the experts first")
        return max(self.cells.values(), key=lambda one: (one.scores[self.skill], one.generation, one.id))

    @property
    def capacity(self) -> int:
        """Number of cells, occupied or not."""
        return math.prod(grid.bins for grid in self.grids.values())

    @property
    def coverage(self) -> float:
        """Share of the cells that is occupied, in [0, 1]."""
        return len(self.cells) / self.capacity

    @property
    def best(self) -> float:
        """The highest score in the archive's skill; 0 where it is empty."""
        return max(self._qualities(), default=0.0)

    @property
    def mean(self) -> float:
        """The mean score in the archive's skill over the occupied cells; 0 where it is empty."""
        return self.qd_score / len(self.cells) if self.cells else 0.0

    @property
    def qd_score(self) -> float:
        """The sum of the scores in the archive's skill over the occupied cells (Pugh et al. 2016)."""
        return math.fsum(self._qualities())

    def _qualities(self) -> list[float]:
        return [one.scores[self.skill] for one in self.cells.values()]


class Archives:
    """The archives of all skills, which take turns.

    Attributes:
        skills: The skills in the order of the cycle.
        grids: The grid of every skill.

    Args:
        skills: The skills in the order of the cycle, distinct, at least one.
        grids: A grid for every skill, and no others.

    Raises:
        ValueError: Skills repeat or are missing, or the grids are of other skills.
    """

    def __init__(self, skills: Sequence[str], grids: Mapping[str, Grid]) -> None:
        if not skills or len(set(skills)) != len(skills):
            raise ValueError(f"archives need distinct skills, at least one, got {list(skills)}")
        if set(grids) != set(skills):
            raise ValueError(f"expected grids of {sorted(skills)}, got {sorted(grids)}")
        self.skills = tuple(skills)
        self.grids = {skill: grids[skill] for skill in self.skills}
        self._archives = {
            skill: Archive(skill, {other: grid for other, grid in self.grids.items() if other != skill})
            for skill in self.skills
        }

    @classmethod
    def seeded(
        cls, skills: Sequence[str], grids: Mapping[str, Grid], seeds: Mapping[str, Mapping[str, float]]
    ) -> Archives:
        """New archives to which the seeds were offered, in their order, as older than any generation's child.

        Args:
            skills: The skills in the order of the cycle, distinct, at least one.
            grids: A grid for every skill, and no others.
            seeds: Each seed's scores by its id: the experts', and maybe others' after them.

        Raises:
            ValueError: As the constructor and `insert`.
        """
        archives = cls(skills, grids)
        for seed, scores in seeds.items():
            archives.insert(seed, scores, -1)
        return archives

    def __getitem__(self, skill: str) -> Archive:
        return self._archives[skill]

    def active(self, generation: int) -> str:
        """The skill whose archive generation `generation` works on."""
        return self.skills[generation % len(self.skills)]

    def insert(self, individual: str, scores: Mapping[str, float], generation: int) -> dict[str, Win | None]:
        """Offers an individual to every archive; all of them or none take it in.

        Args:
            individual: Its id.
            scores: Its scores, one for each skill, in [0, 1].
            generation: When it is offered.

        Returns:
            For each skill, what it won in that skill's archive, or None.

        Raises:
            ValueError: Skills are missing or superfluous, or a score is NaN, infinite or outside [0, 1].
        """
        return {skill: archive.insert(individual, scores, generation) for skill, archive in self._archives.items()}

    def check(self, scores: Mapping[str, float]) -> None:
        """Refuses scores that `insert` would refuse.

        Raises:
            ValueError: Skills are missing or superfluous, or a score is NaN, infinite or outside [0, 1].
        """
        _check_scores(self.skills, scores)

    def to_json(self) -> str:
        """Everything as JSON text: equal content gives equal text, floats round-trip exactly."""
        content = {
            "skills": self.skills,
            "grids": {s: {"lower": g.lower, "upper": g.upper, "bins": g.bins} for s, g in self.grids.items()},
            "archives": {
                skill: [
                    {
                        "cell": cell,
                        "individual": archive.cells[cell].id,
                        "generation": archive.cells[cell].generation,
                        "scores": archive.cells[cell].scores,
                    }
                    for cell in sorted(archive.cells)
                ]
                for skill, archive in self._archives.items()
            },
        }
        return json.dumps(content, sort_keys=True, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Archives:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: The text is something else, or an individual is not in the cell of its scores.
        """
        content: dict[str, Any] = json.loads(text)
        try:
            archives = cls(content["skills"], {skill: Grid(**grid) for skill, grid in content["grids"].items()})
            for skill in archives.skills:
                for entry in content["archives"][skill]:
                    win = archives[skill].insert(entry["individual"], entry["scores"], entry["generation"])
                    if win != Win(tuple(entry["cell"]), None):
                        raise ValueError(f"{entry['individual']} does not belong into cell {entry['cell']} of {skill}")
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the JSON of archives: {error!r}") from error
        return archives


def _check_scores(skills: Sequence[str], scores: Mapping[str, float]) -> None:
    if set(scores) != set(skills):
        raise ValueError(f"expected scores of {sorted(skills)}, got {sorted(scores)}")
    for skill, score in scores.items():
        # NaN fails both comparisons.
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"the score in {skill} must be a number in [0, 1], got {score}")
