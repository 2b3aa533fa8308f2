"""Packing: several conversations in one row of a forward pass, in place of padding.

Conversations never see each other: every one keeps positions from 0 on, by which transformers builds a
block-diagonal attention mask, and the first token of each is never predicted (its predecessor belongs to another
conversation). A packed batch therefore has the loss of the same conversations padded, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cycleqd.experts.conversations import IGNORED, Batch, Encoded


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Deals conversations into rows: first fit, longest first, which needs at most 11/9 of the fewest rows (+ 6/9).

    Args:
        lengths: Tokens of each conversation, each at least 1.
        capacity: Most tokens in a row.

    Returns:
        The conversations' numbers, row by row; every number once.

    Raises:
        ValueError: A conversation is longer than a row.
    """
    if lengths and max(lengths) > capacity:
        raise ValueError(f"a conversation of {max(lengths)} tokens does not fit a row of {capacity}")
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, left in enumerate(free) if left >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(capacity)
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows


def collate_packed(packs: Sequence[Sequence[Encoded]], padding: int) -> Batch:
    """Makes one row of each pack, and pads the rows on the right to the longest of them."""
    rows = [[token for row in one for token in row.input_ids] for one in packs]
    labels = [[label for row in one for label in (IGNORED, *row.labels[1:])] for one in packs]
    positions = [[position for row in one for position in range(len(row.input_ids))] for one in packs]
    longest = max(map(len, rows))

    def padded(values: Sequence[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([value + [filler] * (longest - len(value)) for value in values])

    # Padding repeats position 0: each of its tokens is a conversation of its own, of which nothing is predicted.
    shown = tuple(image for one in packs for row in one for image in row.images)
    return Batch(padded(rows, padding), padded(labels, IGNORED), sum(map(len, rows)), padded(positions, 0), shown)
