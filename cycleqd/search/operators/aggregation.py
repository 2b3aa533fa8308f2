"""How the archives' elites become one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cycleqd.task_vector import TaskVector, weighted_sum


class Aggregation(Protocol):
    """Weighs the elites in the final model Σ_k β_k τ_k."""

    def weights(self, scores: Sequence[float]) -> tuple[float, ...]:
        """What each elite is multiplied by.

        Args:
            scores: Each elite's score in its archive's skill, in [0, 1]; at least one.

        Raises:
            ValueError: No scores, or one that is not in [0, 1].
        """
        ...


@dataclass(frozen=True, slots=True)
class SoftmaxAggregation:
    """τ = Σ_k β_k τ_k*, β the softmax of f_k / temperature (CycleQD, https://arxiv.org/abs/2410.14735).

    Scores are fractions, so at temperature 1 the weights stay close to equal.

    Attributes:
        temperature: Above 0; small values favour the elite of the highest score, large ones give the mean.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def weights(self, scores: Sequence[float]) -> tuple[float, ...]:
        """β of the scores; sums to 1.

        Raises:
            ValueError: No scores, or one that is not in [0, 1].
        """
        if not scores or not all(0.0 <= score <= 1.0 for score in scores):
            raise ValueError(f"expected scores in [0, 1], at least one, got {list(scores)}")
        highest = max(scores)
        terms = [math.exp((score - highest) / self.temperature) for score in scores]
        total = math.fsum(terms)
        return tuple(term / total for term in terms)


def mean(task_vectors: Sequence[TaskVector]) -> TaskVector:
    """The plain average Σ_k τ_k / K, the baseline that every merge has to beat (Wortsman et al. 2022).

    Raises:
        ValueError: No task vectors, or they don't fit together.
    """
    return weighted_sum([1.0 / len(task_vectors)] * len(task_vectors) if task_vectors else [], task_vectors)
