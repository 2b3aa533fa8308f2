"""The normalised sum: CycleQD's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.search.operators.merging.protocol import checked_weights
from cycleqd.task_vector import TaskVector, weighted_sum


@dataclass(frozen=True, slots=True)
class Linear:
    """τ = Σ_k w_k τ_k / Σ_k w_k (CycleQD, https://arxiv.org/abs/2410.14735); with equal weights the plain average."""

    @property
    def exact_on_cores(self) -> bool:
        """Sums commute with any bases."""
        return True

    def merge(self, vectors: Sequence[TaskVector], weights: Sequence[float] | None = None) -> TaskVector:
        """The weighted mean; see `MergeMethod.merge`."""
        weights = checked_weights(vectors, weights)
        total = math.fsum(weights)
        return weighted_sum([weight / total for weight in weights], vectors)
