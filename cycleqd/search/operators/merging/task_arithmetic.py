"""The scaled sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.search.operators.merging.protocol import checked_scale, checked_weights
from cycleqd.task_vector import TaskVector, weighted_sum


@dataclass(frozen=True, slots=True)
class TaskArithmetic:
    """τ = λ Σ_k w_k τ_k (Ilharco et al. 2023, https://arxiv.org/abs/2212.04089).

    Attributes:
        scale: λ. One over the number of vectors gives the plain average; merges act best above that.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        checked_scale(self.scale)

    @property
    def exact_on_cores(self) -> bool:
        """Sums commute with any bases."""
        return True

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The scaled sum; see `MergeMethod.merge`."""
        return weighted_sum([self.scale * weight for weight in checked_weights(vectors, weights)], vectors)
