"""Where a heat map's labels go: beside their cells, hiding as little as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in bins of the grid: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < (self.height + other.height) / 2
        )

    def within(self, bins: tuple[int, int]) -> bool:
        """Whether it lies inside a grid of this many bins."""
        return (
            self.width / 2 <= self.x <= bins[0] - self.width / 2
            and self.height / 2 <= self.y <= bins[1] - self.height / 2
        )


def cell_box(cell: tuple[int, int]) -> Box:
    """The rectangle of a cell."""
    return Box(cell[0] + 0.5, cell[1] + 0.5, 1.0, 1.0)


def place_label(
    cell: tuple[int, int],
    size: tuple[float, float],
    cells: Sequence[Box],
    labels: Sequence[Box],
    bins: tuple[int, int],
) -> Box:
    """The best of some places above and below a cell.

    Args:
        cell: The cell that the label names.
        size: The label's width and height, in bins.
        cells: Occupied cells; hiding one is a pity.
        labels: Labels placed already; hiding one makes both illegible.
        bins: Bins of the grid, across and up.
    """
    width, height = size
    own = cell_box(cell)

    def cost(box: Box) -> tuple[bool, int, int, float]:
        return (
            not box.within(bins),
            sum(box.overlaps(other) for other in labels),
            sum(box.overlaps(other) for other in cells),
            abs(box.x - own.x) + abs(box.y - own.y),
        )

    nearest = 0.5 + 1.1 * height
    places = [
        Box(own.x + sideways * width / 2, own.y + up * (nearest + step * height), width, height)
        for up in (1, -1)
        for step in (0.0, 0.8, 1.6, 2.4, 3.2)
        for sideways in (0, 0.6, -0.6, 1.2, -1.2)
    ]
    return min(places, key=cost)
