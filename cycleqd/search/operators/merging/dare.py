"""Drop and rescale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cycleqd.randomness import parameter_rng
from cycleqd.search.operators.merging.blocks import merge_entries, merged_rows
from cycleqd.search.operators.merging.protocol import checked_scale, checked_weights
from cycleqd.task_vector import DenseTaskVector, TaskVector


@dataclass(frozen=True, slots=True)
class Dare:
    """DARE with task arithmetic (Yu et al. 2024, https://arxiv.org/abs/2311.03099).

    Each entry of each vector is dropped with probability p, the others are divided by 1 − p; the result is
    λ Σ_k w_k τ̃_k. Which entries are dropped depends on the seed, the vector's place and the parameter's name alone.
    Parameters that are not matrices are treated like all others.

    Attributes:
        drop: p, in [0, 1).
        scale: λ.
        seed: Fixes what is dropped, at least 0.
    """

    drop: float = 0.5
    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be at least 0 and below 1, got {self.drop}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        checked_scale(self.scale)

    @property
    def exact_on_cores(self) -> bool:
        """It drops entries, which are others in other bases."""
        return False

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> DenseTaskVector:
        """The thinned sum, dense; see `MergeMethod.merge`."""
        checked = checked_weights(vectors, weights)

        def thinned(stack: torch.Tensor, streams: Sequence[np.random.Generator]) -> torch.Tensor:
            total = torch.zeros_like(stack[0])
            for vector, weight, stream in zip(stack, checked, streams, strict=True):
                kept = stream.random(tuple(vector.shape)) >= self.drop
                total += vector * torch.from_numpy(np.asarray(kept)) * (weight * self.scale / (1.0 - self.drop))
            return total

        def streams(name: str) -> list[np.random.Generator]:
            return [parameter_rng(self.seed, f"dare {place} {name}") for place in range(len(checked))]

        def by_rows(name: str, rows: int) -> Iterator[torch.Tensor]:
            drawn = streams(name)
            return merged_rows(vectors, name, rows, lambda stack: thinned(stack, drawn))

        return merge_entries(vectors, lambda name, stack: thinned(stack, streams(name)), by_rows)
