from __future__ import annotations

from itertools import combinations, product

import pytest

from cycleqd.report.labels import Box, cell_box, place_label

BINS = (15, 15)
SIZE = (4.0, 0.8)


@pytest.mark.parametrize("cell", list(product((0, 7, 14), repeat=2)))
def test_a_label_stays_inside_and_off_its_own_cell(cell: tuple[int, int]) -> None:
    box = place_label(cell, SIZE, [cell_box(cell)], [], BINS)
    assert box.within(BINS)
    assert not box.overlaps(cell_box(cell))


def test_a_label_avoids_occupied_cells() -> None:
    row = [cell_box((x, 8)) for x in range(15)]
    box = place_label((7, 7), SIZE, [cell_box((7, 7)), *row], [], BINS)
    assert not any(box.overlaps(other) for other in row)


def test_labels_of_one_cluster_do_not_cover_each_other() -> None:
    cells = [(0, 3), (0, 4), (1, 3), (1, 4)]
    labels: list[Box] = []
    for cell in cells:
        labels.append(place_label(cell, SIZE, [cell_box(other) for other in cells], labels, BINS))
    assert not any(first.overlaps(second) for first, second in combinations(labels, 2))
