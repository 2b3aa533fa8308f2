"""How sure a difference between two individuals is, given that both met the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from cycleqd.records import EvaluationRecord

STANDARD_ERRORS = 2.0
"""A difference counts as clear from this many standard errors on (about 95 % for a normal error)."""


class Difference(NamedTuple):
    """A difference of two scores.

    Attributes:
        difference: First minus second, in [-1, 1].
        se: Standard error of the difference, at least 0.
        n: Number of samples behind it.
    """

    difference: float
    se: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds `STANDARD_ERRORS` standard errors."""
        return abs(self.difference) > STANDARD_ERRORS * self.se


def paired_difference(first: EvaluationRecord, second: EvaluationRecord) -> Difference | None:
    """Mean over the samples of (first's score − second's score).

    Both met the same samples, so the difficulty of a sample cancels: the standard error is that of the per-sample
    differences (population form over sqrt(n), as in `Score`), which is smaller than that of two independent means.

    Returns:
        None when the two were not scored on the same samples: then nothing can be paired.
    """
    left = {sample.id: sample.score for sample in first.samples}
    right = {sample.id: sample.score for sample in second.samples}
    if left.keys() != right.keys() or first.data_hash != second.data_hash or not left:
        return None
    differences = [left[key] - right[key] for key in left]
    n = len(differences)
    mean = math.fsum(differences) / n
    variance = math.fsum((value - mean) ** 2 for value in differences) / n
    return Difference(mean, math.sqrt(variance / n), n)


def average(differences: Sequence[Difference]) -> Difference:
    """The unweighted mean over skills, whose samples are independent of each other.

    Raises:
        ValueError: There are none.
    """
    if not differences:
        raise ValueError("an average needs at least one difference")
    count = len(differences)
    return Difference(
        math.fsum(item.difference for item in differences) / count,
        math.sqrt(math.fsum(item.se**2 for item in differences)) / count,
        sum(item.n for item in differences),
    )
