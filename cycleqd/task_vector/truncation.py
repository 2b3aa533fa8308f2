"""Low-rank factors of a dense change: what is kept of it, and what is lost."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch

from cycleqd.task_vector.bases import LoraFactors

_OVERSAMPLING: Final = 16
"""Directions beyond the rank that the randomised decomposition looks at (Halko et al. 2011, section 4.2: 5 or 10)."""
_ITERATIONS: Final = 4
"""Power iterations, which tell singular values apart that fall off slowly (Halko et al. 2011, algorithm 4.4)."""


class Truncated(NamedTuple):
    """The nearest matrix of low rank, and what it lacks.

    Attributes:
        factors: A (r, n) and B (m, r), fp32 on the CPU, scale 1; both carry the roots of the singular values.
        error: Frobenius norm of what is lost, as a share of the matrix' own: 0 for nothing, 1 for everything.
        norm: The matrix' own.
    """

    factors: LoraFactors
    error: float
    norm: float

    @property
    def rank(self) -> int:
        """Singular values that were kept."""
        return self.factors.a.shape[0]


def truncated(
    delta: torch.Tensor, *, rank: int | None = None, energy: float | None = None, device: torch.device | None = None
) -> Truncated:
    """Keeps the largest singular values of a matrix (Eckart and Young 1936).

    Where few are asked for of many, the decomposition is randomised (Halko, Martinsson and Tropp 2011,
    https://arxiv.org/abs/0909.4061), with a fixed seed. The error is exact either way: what is kept is an orthogonal
    projection of the matrix.

    Args:
        delta: Shape (m, n).
        rank: Most singular values to keep, at least 1; None for as many as `energy` asks for.
        energy: Share of the sum of the squared singular values that is enough, in (0, 1]; None keeps `rank` of them.
            With both, whichever is reached first.
        device: Where it is decomposed; unless given, where the matrix lies.

    Raises:
        ValueError: Neither a rank nor an energy, the matrix is none, or it holds values that are not finite.
    """
    if rank is None and energy is None:
        raise ValueError("say how many singular values are kept, by rank or by energy")
    if delta.ndim != 2:
        raise ValueError(f"expected a matrix, got shape {tuple(delta.shape)}")
    matrix = delta.to(device).float() if device is not None else delta.float()
    total = float(matrix.double().square().sum())
    if not math.isfinite(total):
        raise ValueError("the matrix holds values that are not finite")
    most = min(*matrix.shape, rank or min(matrix.shape))
    u, sigma, v = _decomposed(matrix, most)
    squares = sigma.double().square()
    enough = most
    if energy is not None and total > 0:
        enough = int((squares.cumsum(0) < energy * total * (1 - 1e-12)).sum()) + 1
    kept = max(1, min(most, enough))
    root = sigma[:kept].sqrt()
    factors = LoraFactors(
        (root[:, None] * v[:, :kept].T).contiguous().cpu(), (u[:, :kept] * root).contiguous().cpu(), 1.0
    )
    lost = max(0.0, total - float(squares[:kept].sum()))
    return Truncated(factors, math.sqrt(lost / total) if total > 0 else 0.0, math.sqrt(total))


def _decomposed(matrix: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U, σ descending, and V of at least the `most` largest singular values."""
    looked_at = most + _OVERSAMPLING
    if looked_at * 4 > min(matrix.shape):
        u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u, sigma, vh.T
    devices = [matrix.device] if matrix.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # it draws from the global generator
        torch.manual_seed(0)
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = torch.svd_lowrank(matrix, looked_at, _ITERATIONS)
    return found
