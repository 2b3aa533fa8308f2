"""TIES in coordinates that all vectors share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from cycleqd.search.operators.merging.blocks import merge_entries, merge_matrices, nonzero, weighted_mean
from cycleqd.search.operators.merging.protocol import checked_fraction, checked_scale, checked_weights
from cycleqd.search.operators.merging.ties import agreeing_mean, trimmed
from cycleqd.task_vector import TaskVector
from cycleqd.task_vector.spectrum import RANK_TOLERANCE


@dataclass(frozen=True, slots=True)
class Knots:
    """KnOTS with TIES (Stoica et al. 2024, https://arxiv.org/abs/2410.19735).

    The vectors' matrices are written in singular directions that they share, and TIES (`Ties`) merges what they have
    there. Merging linearly there would be task arithmetic.

    * ``both`` (ours): U are the left singular vectors of [τ_1 ... τ_K], V the right ones of the τ_k stacked on top of
      each other; TIES merges the Uᵀ τ_k V, and the result is λ U (...) Vᵀ. Nothing in it depends on the bases.
    * ``left`` (the paper's): [τ_1 ... τ_K] = U Σ [V_1ᵀ ... V_Kᵀ]; TIES merges the V_kᵀ, and the result is
      λ U Σ (...). The entries of V_k are those of the model's own inputs, so this needs dense tensors.

    Parameters that are not matrices are averaged by weight, times λ.

    Attributes:
        density: Share of the entries that stay when a vector is trimmed, in (0, 1]; of those within the shared rank.
        scale: λ.
        alignment: Which of the two.
    """

    density: float = 0.2
    scale: float = 1.0
    alignment: Literal["both", "left"] = "both"

    def __post_init__(self) -> None:
        checked_fraction("density", self.density)
        checked_scale(self.scale)
        if self.alignment not in ("both", "left"):
            raise ValueError(f"alignment must be both or left, got {self.alignment!r}")

    @property
    def exact_on_cores(self) -> bool:
        """Coordinates in shared singular directions do not depend on the bases; the model's own inputs do."""
        return self.alignment == "both"

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The agreeing coordinates' mean; see `MergeMethod.merge`.

        Raises:
            ValueError: As there, or a weight is negative.
        """
        checked = checked_weights(vectors, weights)
        if min(checked) < 0:
            raise ValueError(f"knots takes no negative weights, got {list(checked)}")
        others = weighted_mean(self.scale, checked)
        if self.alignment == "both":
            return merge_matrices(vectors, lambda stack, _: self._both(stack, checked), others)

        def rule(name: str, stack: torch.Tensor) -> torch.Tensor:
            return self._left(stack, checked) if stack.ndim == 3 else others(name, stack)

        return merge_entries(vectors, rule)

    def _both(self, stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """(K, B, p, q) -> (B, p, q)."""
        u, rows = _directions(torch.cat(list(stack), dim=-1))
        v, columns = _directions(torch.cat(list(stack), dim=-2).mT)
        coordinates = u.mT @ stack @ v
        flat = _without_noise(coordinates.flatten(-2))
        counts = torch.tensor([self._count(int(r) * int(c)) for r, c in zip(rows, columns, strict=True)])
        merged = agreeing_mean(trimmed(flat, counts), weights).view(coordinates.shape[1:])
        return self.scale * (u @ merged @ v.mT)

    def _left(self, stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """(K, m, n) -> (m, n)."""
        u, sigma, vh = torch.linalg.svd(torch.cat(list(stack), dim=-1), full_matrices=False)
        counted = nonzero(sigma)
        u, sigma, vh = u[:, counted], sigma[counted], vh[counted]
        parts = torch.stack(vh.chunk(len(stack), dim=-1))
        flat = parts.reshape(len(stack), 1, -1)
        if flat.shape[-1] == 0:
            return torch.zeros_like(stack[0])
        count = torch.tensor([self._count(flat.shape[-1])])
        merged = agreeing_mean(trimmed(_without_noise(flat), count), weights)
        result: torch.Tensor = self.scale * ((u * sigma) @ merged.view(parts.shape[1:]))
        return result

    def _count(self, entries: int) -> int:
        return max(1, math.ceil(self.density * entries))


def _without_noise(coordinates: torch.Tensor) -> torch.Tensor:
    """Coordinates (K, B, N) without those that exact arithmetic would make zero: they take no part in an election."""
    noise = RANK_TOLERANCE * coordinates.abs().amax(dim=(0, -1), keepdim=True)
    return torch.where(coordinates.abs() > noise, coordinates, 0.0)


def _directions(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left singular vectors (B, p, p'), zero where they are arbitrary, and the ranks (B,)."""
    if matrices.shape[-1] > matrices.shape[-2]:  # M = Rᵀ Qᵀ has the left singular vectors of Rᵀ, which is smaller
        matrices = torch.linalg.qr(matrices.mT, mode="r").R.mT
    u, sigma, _ = torch.linalg.svd(matrices, full_matrices=False)
    counted = nonzero(sigma)
    return u * counted.unsqueeze(-2), counted.sum(-1)
