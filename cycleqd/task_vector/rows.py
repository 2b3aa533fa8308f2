"""Large parameters in blocks of rows, so that an embedding of an 8B model need not be held whole in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import torch

BLOCK_BYTES: Final = 128 * 2**20
"""Of a block in fp32. The largest parameter of a model below a billion parameters is mostly one block."""

Blocks = Callable[[str, int], Iterator[torch.Tensor]]
"""(name, rows) -> a parameter's consecutive rows, at most so many at a time, each of shape (rows, *the others)."""


def rows_at_a_time(shape: Sequence[int]) -> int:
    """How many rows of a parameter fit into a block; at least 1.

    Args:
        shape: The parameter's shape; one number alone counts as a row.
    """
    return max(1, BLOCK_BYTES // (4 * max(1, math.prod(shape[1:]))))


def fits_a_block(shape: Sequence[int], rows: int) -> bool:
    """Whether a parameter has no more than `rows` rows."""
    return not shape or shape[0] <= rows


def split(tensor: torch.Tensor, rows: int) -> Iterator[torch.Tensor]:
    """Views of a tensor's consecutive rows; the tensor itself where it has no more than `rows`."""
    if fits_a_block(tensor.shape, rows):
        yield tensor
    else:
        for first in range(0, len(tensor), rows):
            yield tensor[first : first + rows]


def joined(blocks: Iterable[torch.Tensor], shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A parameter of consecutive rows, without a list of them: that would take as much again.

    Args:
        blocks: All rows, in their order.
        shape: The parameter's.
        dtype: What it is rounded to.
    """
    whole, first = torch.empty(tuple(shape), dtype=dtype), 0
    for block in blocks:
        whole[first : first + len(block)] = block
        first += len(block)
    return whole
