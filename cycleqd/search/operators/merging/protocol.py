"""What a merge method is, and what all of them check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from cycleqd.task_vector import TaskVector

MIN_WEIGHT_SUM = 1e-3
"""Weights whose sum is smaller in absolute value are refused: means divide by it."""


class MergeMethod(Protocol):
    """Makes one task vector of several.

    As a baseline it merges the experts once; as a crossover it merges two parents.
    """

    @property
    def exact_on_cores(self) -> bool:
        """Whether merging the cores of factored vectors is merging the matrices.

        It is where the method commutes with orthonormal bases, f(P C₁ Qᵀ, P C₂ Qᵀ, ...) = P f(C₁, C₂, ...) Qᵀ. Methods
        that look at single entries don't: they return a dense vector whatever they are given, and
        `cycleqd.task_vector.project` says what is lost by bringing it back to the bases.
        """
        ...

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The merged task vector.

        Args:
            vectors: At least one; more than one must cover the same parameters.
            weights: How much each vector counts, as the method's formula has it; 1 each unless given. Crossover
                gives weights that sum to 1.

        Raises:
            ValueError: The vectors don't fit together, or the weights are not fit to merge with.
        """
        ...


def checked_weights(vectors: Sequence[TaskVector], weights: Sequence[float] | None) -> tuple[float, ...]:
    """The weights of a merge, 1 each unless given.

    Raises:
        ValueError: There are no vectors, another number of weights, or weights without a usable mean.
    """
    if not vectors:
        raise ValueError("a merge needs at least one task vector")
    if weights is None:
        return (1.0,) * len(vectors)
    if len(weights) != len(vectors):
        raise ValueError(f"expected one weight per task vector, got {len(weights)} for {len(vectors)}")
    if not all(map(math.isfinite, weights)) or abs(math.fsum(weights)) < MIN_WEIGHT_SUM:
        raise ValueError(f"weights must be finite and must not sum to zero, got {list(weights)}")
    return tuple(float(weight) for weight in weights)


def checked_scale(scale: float) -> None:
    """Refuses a scale that is not a finite number.

    Raises:
        ValueError: It is not.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}")


def checked_fraction(name: str, value: float) -> None:
    """Refuses a density or the like outside (0, 1].

    Raises:
        ValueError: It is outside.
    """
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
