"""The sum with a flattened spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cycleqd.search.operators.merging.blocks import merge_matrices, nonzero, weighted, weighted_mean
from cycleqd.search.operators.merging.protocol import checked_scale, checked_weights
from cycleqd.task_vector import TaskVector


@dataclass(frozen=True, slots=True)
class IsoC:
    """Iso-C (Marczak et al. 2025, https://arxiv.org/abs/2502.04959) with a degree of flattening.

    Of each matrix' sum Σ_k w_k τ_k = U diag(σ) Vᵀ the singular values move towards their mean σ̄:
    λ U diag((1 − a) σ + a σ̄) Vᵀ. The paper's is a = 1; a = 0 is task arithmetic. Mean and result take in only the
    singular values that are not zero: a sum of LoRA experts has few, and the directions of the others are arbitrary.
    Parameters that are not matrices are averaged by weight, times λ.

    Attributes:
        scale: λ.
        flattening: a, in [0, 1].
    """

    scale: float = 1.0
    flattening: float = 1.0

    def __post_init__(self) -> None:
        checked_scale(self.scale)
        if not 0 <= self.flattening <= 1:
            raise ValueError(f"flattening must be in [0, 1], got {self.flattening}")

    @property
    def exact_on_cores(self) -> bool:
        """Sums and singular values do not depend on the bases."""
        return True

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The sum with a flatter spectrum; see `MergeMethod.merge`."""
        checked = checked_weights(vectors, weights)

        def rule(stack: torch.Tensor, _: int) -> torch.Tensor:
            u, sigma, vh = torch.linalg.svd(weighted(stack, checked), full_matrices=False)
            counted = nonzero(sigma)
            mean = (sigma * counted).sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp(min=1)
            flat = torch.lerp(sigma, mean.expand_as(sigma), self.flattening) * counted * self.scale
            merged: torch.Tensor = (u * flat.unsqueeze(-2)) @ vh
            return merged

        return merge_matrices(vectors, rule, weighted_mean(self.scale, checked))
