"""What both forms of task vector do to one matrix: its spectrum, its stretch, its noise."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cycleqd.randomness import parameter_rng

RANK_TOLERANCE = 1e-5
"""Singular values up to this fraction of the largest count as zero.

An fp32 SVD leaves about 1e-7 of the largest singular value where there should be nothing, merging for hundreds of
generations about 1e-6. What a real singular value below the tolerance would add is lost in rounding."""


def singular_values(matrix: torch.Tensor) -> torch.Tensor:
    """The singular values of a matrix (m, n), shape (min(m, n),), descending."""
    values: torch.Tensor = torch.linalg.svdvals(matrix)
    return values


def stretches(sigma: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """What an SVD mutation adds to the singular values: w ∘ σ, and 0 for a matrix of rank at most 1.

    Args:
        sigma: Singular values, descending, shape (..., k), fp32, at least 0.
        w: Relative stretches, shape (..., k), fp32.

    Returns:
        Shape (..., k), fp32; 0 where σ counts as zero.
    """
    counted = sigma > RANK_TOLERANCE * sigma[..., :1]
    mutable = counted & (counted.sum(-1, keepdim=True) > 1)
    return torch.where(mutable, w * sigma, 0.0)


def standard_noise(seed: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise of one parameter, fp32, the same wherever it is drawn."""
    return torch.from_numpy(parameter_rng(seed, name).standard_normal(shape, dtype="float32"))


def noise_blocks(seed: int, name: str, shape: tuple[int, ...], rows: int) -> Iterator[torch.Tensor]:
    """The same numbers as `standard_noise`, at most `rows` rows at a time."""
    stream = parameter_rng(seed, name)
    for first in range(0, shape[0], rows):
        block = (min(rows, shape[0] - first), *shape[1:])
        yield torch.from_numpy(stream.standard_normal(block, dtype="float32"))
