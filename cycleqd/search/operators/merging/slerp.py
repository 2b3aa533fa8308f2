"""Interpolation on the sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cycleqd.search.operators.merging.blocks import merge_matrices
from cycleqd.search.operators.merging.protocol import checked_scale, checked_weights
from cycleqd.task_vector import TaskVector

_MIN_SINE = 1e-4
"""Below it the straight line is taken: its difference to the arc is of the order of the square."""


@dataclass(frozen=True, slots=True)
class Slerp:
    """Spherical interpolation (Shoemake 1985, https://doi.org/10.1145/325334.325242), parameter by parameter.

    τ = sin((1 − t) Ω) / sin Ω · a + sin(t Ω) / sin Ω · b with Ω the angle between a and b, both as they are, neither
    normalised. The angle is that of the entries as one long vector (Frobenius), of parameters of any shape. Where one
    is zero, or they are parallel or opposite, it is the straight line (1 − t) a + t b.

    More than two are folded from the left: the result so far meets the next vector at t = its share of the weights so
    far, so that all count as their weights say. The order of three and more makes a small difference, as arcs do not
    commute.

    Attributes:
        scale: Factor on the result.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        checked_scale(self.scale)

    @property
    def exact_on_cores(self) -> bool:
        """Orthonormal bases keep lengths and angles."""
        return True

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The fold; see `MergeMethod.merge`.

        Raises:
            ValueError: As there, or a weight is negative.
        """
        checked = checked_weights(vectors, weights)
        if min(checked) < 0:
            raise ValueError(f"slerp takes no negative weights, got {list(checked)}")

        def fold(stack: torch.Tensor, axes: int) -> torch.Tensor:
            result, total = stack[0], checked[0]
            for vector, weight in zip(stack[1:], checked[1:], strict=True):
                total += weight
                result = _slerp(result, vector, weight / total if total > 0 else 0.0, axes)
            return result * self.scale

        return merge_matrices(vectors, lambda stack, _: fold(stack, 2), lambda _, stack: fold(stack, stack.ndim - 1))


def _slerp(a: torch.Tensor, b: torch.Tensor, t: float, axes: int) -> torch.Tensor:
    """Between two stacks, whose last `axes` axes are one parameter each."""
    dims = tuple(range(-axes, 0))

    def inner(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x * y).sum(dim=dims, keepdim=True) if axes else x * y

    lengths = (inner(a, a) * inner(b, b)).sqrt()
    cosine = torch.where(lengths > 0, inner(a, b) / lengths, 1.0).clamp(-1.0, 1.0)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    straight = sine < _MIN_SINE
    safe = torch.where(straight, 1.0, sine)
    left = torch.where(straight, 1.0 - t, torch.sin((1.0 - t) * angle) / safe)
    right = torch.where(straight, t, torch.sin(t * angle) / safe)
    return left * a + right * b
