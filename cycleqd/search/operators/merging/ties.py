"""Trim, elect signs, merge what agrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch

from cycleqd.search.operators.merging.blocks import merge_entries, merged_rows
from cycleqd.search.operators.merging.protocol import checked_fraction, checked_scale, checked_weights
from cycleqd.task_vector import DenseTaskVector, TaskVector

_HALF: Final = 2**16
"""Patterns that half of a 32-bit number can have."""


@dataclass(frozen=True, slots=True)
class Ties:
    """TIES-Merging (Yadav et al. 2023, https://arxiv.org/abs/2306.01708).

    Of each vector the entries of largest magnitude stay (trim); per entry the sign of Σ_k w_k τ_k is elected; the
    merged entry is λ times the weighted mean over the vectors that have the elected sign there. An entry that no
    vector kept is 0.

    Trimming is per parameter, so that no more than one has to be in memory; the paper's code trims over the whole
    model. Parameters that are not matrices are treated like all others.

    Attributes:
        density: Share of entries that stay, in (0, 1].
        scale: λ.
    """

    density: float = 0.2
    scale: float = 1.0

    def __post_init__(self) -> None:
        checked_fraction("density", self.density)
        checked_scale(self.scale)

    @property
    def exact_on_cores(self) -> bool:
        """It looks at entries, which are others in other bases."""
        return False

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> DenseTaskVector:
        """The agreeing entries' mean, dense; see `MergeMethod.merge`.

        Raises:
            ValueError: As there, or a weight is negative.
        """
        checked = checked_weights(vectors, weights)
        if min(checked) < 0:
            raise ValueError(f"ties takes no negative weights, got {list(checked)}")

        def rule(_: str, stack: torch.Tensor) -> torch.Tensor:
            flat = stack.reshape(len(checked), 1, -1)
            count = torch.tensor([max(1, math.ceil(self.density * flat.shape[-1]))])
            return self.scale * agreeing_mean(trimmed(flat, count), checked).reshape(stack.shape[1:])

        def by_rows(name: str, rows: int) -> Iterator[torch.Tensor]:
            entries = math.prod(vectors[0].shape(name))
            count = max(1, math.ceil(self.density * entries))
            # Where all stay, no magnitude is below the border.
            borders = [
                largest(partial(vector.blocks, name, rows), count) if count < entries else 0.0 for vector in vectors
            ]
            border = torch.tensor(borders, dtype=torch.float64).view(-1, 1, 1)

            def few(stack: torch.Tensor) -> torch.Tensor:
                flat = stack.reshape(len(checked), 1, -1)
                kept = torch.where(flat.abs() >= border, flat, 0.0) if count < entries else flat
                return self.scale * agreeing_mean(kept, checked).reshape(stack.shape[1:])

            return merged_rows(vectors, name, rows, few)

        return merge_entries(vectors, rule, by_rows)


def largest(blocks: Callable[[], Iterable[torch.Tensor]], count: int) -> float:
    """The `count`-th largest magnitude of fp32 numbers that come in blocks, exactly.

    Bit patterns of positive floats have the order of the numbers. One pass counts their upper halves, a second one the
    lower halves of those that share the wanted upper half.

    Args:
        blocks: Gives the numbers, each time it is called.
        count: At least 1, at most as many as there are numbers.
    """
    upper = torch.zeros(_HALF, dtype=torch.long)
    for block in blocks():
        upper += torch.bincount(_patterns(block) >> 16, minlength=_HALF)
    head, left = _place(upper, count)
    lower = torch.zeros(_HALF, dtype=torch.long)
    for block in blocks():
        patterns = _patterns(block)
        lower += torch.bincount(patterns[patterns >> 16 == head] & (_HALF - 1), minlength=_HALF)
    tail, _ = _place(lower, left)
    return float(torch.tensor(head << 16 | tail, dtype=torch.int32).view(torch.float32))


def _patterns(block: torch.Tensor) -> torch.Tensor:
    return block.abs().contiguous().flatten().view(torch.int32)


def _place(counts: torch.Tensor, count: int) -> tuple[int, int]:
    """The bin of the `count`-th largest, and how many of that bin are counted until there."""
    above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(above, count))
    return len(counts) - 1 - place, count - (int(above[place - 1]) if place else 0)


def trimmed(stack: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Zero but for the largest entries of each vector.

    Args:
        stack: Shape (K, B, N).
        counts: Entries that stay, shape (B,), each in [1, N]; of equal ones at the border all stay.
    """
    if int(counts.min()) >= stack.shape[-1]:
        return stack
    magnitudes = stack.abs()
    descending = magnitudes.sort(dim=-1, descending=True).values
    border = descending.gather(-1, (counts - 1).view(1, -1, 1).expand(len(stack), -1, 1))
    return torch.where(magnitudes >= border, stack, 0.0)


def agreeing_mean(stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted mean of those entries that have the elected sign.

    Args:
        stack: Trimmed vectors, shape (K, B, N).
        weights: One per vector, at least 0.

    Returns:
        Shape (B, N); 0 where nobody has the elected sign.
    """
    w = torch.tensor(weights, dtype=stack.dtype).view(-1, 1, 1)
    elected = (w * stack).sum(dim=0).sign()
    agrees = (stack.sign() == elected) & (stack != 0)
    total = (w * agrees).sum(dim=0)
    summed = (w * stack * agrees).sum(dim=0)
    return torch.where(total > 0, summed / torch.where(total > 0, total, 1.0), 0.0)
