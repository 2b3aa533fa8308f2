"""How sure a difference between two individuals is, given that both met the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cycleqd.bootstrap import paired_bootstrap
from cycleqd.run.records import EvaluationRecord
from cycleqd.statistics import Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two scores, or of two means of scores over skills.

    Attributes:
        samples: For each skill, the differences of its samples, first minus second, in [-1, 1].
        difference: The unweighted mean of the skills' means.
        se: Its standard error, at least 0.
        n: Number of samples behind it.
        interval: Of 95 %, by a bootstrap over the samples (`cycleqd.bootstrap.paired_bootstrap`).
    """

    samples: tuple[tuple[float, ...], ...]
    difference: float = field(init=False)
    se: float = field(init=False)
    n: int = field(init=False)
    interval: Interval = field(init=False)

    def __post_init__(self) -> None:
        if not self.samples or not all(self.samples):
            raise ValueError("a difference needs at least one skill, and each at least one sample")
        count = len(self.samples)
        means = [math.fsum(values) / len(values) for values in self.samples]
        # Population form over sqrt(n), as in `Score`; the skills' samples are independent of each other.
        squares = [
            math.fsum((value - mean) ** 2 for value in values) / len(values) ** 2
            for values, mean in zip(self.samples, means, strict=True)
        ]
        object.__setattr__(self, "difference", math.fsum(means) / count)
        object.__setattr__(self, "se", math.sqrt(math.fsum(squares)) / count)
        object.__setattr__(self, "n", sum(map(len, self.samples)))
        object.__setattr__(self, "interval", paired_bootstrap(self.samples))

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero, and there are samples enough to say so.

        One sample of a skill says nothing of how its samples vary, and samples that all differ alike are too few.
        """
        if self.se == 0 or any(len(values) == 1 for values in self.samples):
            return False
        return self.interval.low > 0 or self.interval.high < 0


def paired_difference(first: EvaluationRecord, second: EvaluationRecord) -> Difference | None:
    """Mean over the samples of (first's score − second's score).

    Both met the same samples, so the difficulty of a sample cancels: the difference is surer than that of two
    independent means.

    Returns:
        None when the two were not scored on the same samples: then nothing can be paired.
    """
    left = {sample.id: sample.score for sample in first.samples}
    right = {sample.id: sample.score for sample in second.samples}
    if left.keys() != right.keys() or first.data_hash != second.data_hash or not left:
        return None
    return Difference((tuple(left[key] - right[key] for key in sorted(left)),))


def average(differences: Sequence[Difference]) -> Difference:
    """The unweighted mean over skills.

    Raises:
        ValueError: There are none.
    """
    return Difference(tuple(values for item in differences for values in item.samples))
