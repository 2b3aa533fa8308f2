"""Task singular vectors, made orthonormal across the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cycleqd.search.operators.merging.blocks import merge_matrices, nonzero, weighted_mean
from cycleqd.search.operators.merging.protocol import checked_scale, checked_weights
from cycleqd.task_vector import TaskVector


@dataclass(frozen=True, slots=True)
class TsvMerge:
    """TSV-Merge (Gargiulo et al. 2024, https://arxiv.org/abs/2412.00081).

    Of each vector's matrix, U_k diag(σ_k) V_kᵀ, the largest 1/K of the singular directions stay. The stacks
    [U_1 ... U_K] and [V_1 ... V_K] are replaced by the nearest matrices with orthonormal columns (A Bᵀ of the stack's
    SVD A S Bᵀ), which takes the vectors' directions apart; the result is λ Σ_k ŵ_k Û_k diag(σ_k) V̂_kᵀ.
    A direction that all vectors share is shared out among them, so that their sum is already a mean there: the ŵ_k are
    the weights divided by their mean, and vectors that are equal merge to λ times themselves.

    "1/K" is of min(m, n): LoRA experts have fewer directions than that and keep all. Directions whose singular value
    is zero are left out, and so are those of a stack (two vectors share a direction): their singular vectors are
    arbitrary. Parameters that are not matrices are averaged by weight, times λ.

    Attributes:
        scale: λ.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        checked_scale(self.scale)

    @property
    def exact_on_cores(self) -> bool:
        """Singular vectors turn with the bases, and so do the nearest orthonormal ones."""
        return True

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The decorrelated sum; see `MergeMethod.merge`."""
        checked = checked_weights(vectors, weights)
        mean = math.fsum(checked) / len(checked)

        def rule(stack: torch.Tensor, limit: int) -> torch.Tensor:
            u, sigma, vh = torch.linalg.svd(stack, full_matrices=False)
            w = torch.tensor(checked, dtype=stack.dtype).view(-1, 1, 1) / mean
            counted = nonzero(sigma) & (w != 0)
            rank = int(counted.sum(-1).max())  # a core has more directions than an expert: the rest is zero
            kept = max(1, min(rank, limit // len(checked)))
            u, sigma, vh, counted = u[..., :kept], sigma[..., :kept], vh[..., :kept, :], counted[..., :kept]
            left = orthonormalised(_side_by_side(u * counted.unsqueeze(-2)))
            right = orthonormalised(_side_by_side(vh.mT * counted.unsqueeze(-2)))
            stretched = left * _side_by_side((self.scale * w * sigma * counted).unsqueeze(-2))
            merged: torch.Tensor = stretched @ right.mT
            return merged

        return merge_matrices(vectors, rule, weighted_mean(self.scale, checked))


def orthonormalised(stack: torch.Tensor) -> torch.Tensor:
    """A Bᵀ of the SVD A S Bᵀ, the nearest matrix with orthonormal columns, on the stack's own span.

    Args:
        stack: Shape (..., p, q); may be rank-deficient: directions of singular value zero stay out.
    """
    a, s, bh = torch.linalg.svd(stack, full_matrices=False)
    nearest: torch.Tensor = (a * nonzero(s).unsqueeze(-2)) @ bh
    return nearest


def _side_by_side(stack: torch.Tensor) -> torch.Tensor:
    """(K, B, p, k) -> (B, p, K · k)."""
    return torch.cat(list(stack), dim=-1)
