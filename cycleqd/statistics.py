"""Intervals around scores, right also where every sample came out alike.

* A score is the mean of n samples in [0, 1]: `wilson` gives its interval, which has a width at 0 of n and at n of n,
  where mean ± standard error has none.
* A mean of several skills' scores: `interval_of_mean` puts their intervals together.

Intervals of differences are in `cycleqd.bootstrap`. All are for 95 %, two-sided, unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
"""Probability with which an interval holds the true value, were the run repeated with other samples."""


class Interval(NamedTuple):
    """An interval with its ends."""

    low: float
    high: float


def wilson(mean: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a proportion (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    The centre is (p + z²/2n) / (1 + z²/n), the half-width z √(p (1 − p)/n + z²/4n²) / (1 + z²/n). At p = 0 it goes
    from 0 to z² / (n + z²).

    Samples may score fractions, too. Nothing in [0, 1] with mean p varies more than a proportion, p (1 − p), so for
    them the interval is wide enough, and wider than need be.

    Args:
        mean: p, in [0, 1].
        n: Samples, at least 1.
        confidence: In (0, 1).

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0.0 <= mean <= 1.0 or n < 1:
        raise ValueError(f"expected a mean in [0, 1] of at least one sample, got {mean} of {n}")
    z2 = _z(confidence) ** 2
    centre = mean + z2 / (2 * n)
    half = math.sqrt(z2 * (mean * (1.0 - mean) / n + z2 / (4 * n * n)))
    shrink = 1.0 + z2 / n
    # Rounding must not push an end past what it stands at.
    low = 0.0 if mean == 0.0 else max(0.0, (centre - half) / shrink)
    high = 1.0 if mean == 1.0 else min(1.0, (centre + half) / shrink)
    return Interval(min(low, mean), max(high, mean))


def interval_of_mean(scores: Sequence[tuple[float, int]], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the unweighted mean of independent scores.

    Each score's Wilson interval keeps its own reach down and up; the reaches add as errors do (square-and-add, Zou and
    Donner 2008, https://doi.org/10.1002/sim.3095).

    Args:
        scores: Mean and number of samples of each, at least one.
        confidence: In (0, 1).

    Raises:
        ValueError: There are none, or one is out of range.
    """
    if not scores:
        raise ValueError("a mean needs at least one score")
    ends = [(mean, wilson(mean, n, confidence)) for mean, n in scores]
    count = len(ends)
    middle = math.fsum(mean for mean, _ in ends) / count
    down = math.sqrt(math.fsum((mean - low) ** 2 for mean, (low, _) in ends)) / count
    up = math.sqrt(math.fsum((high - mean) ** 2 for mean, (_, high) in ends)) / count
    return Interval(max(0.0, middle - down), min(1.0, middle + up))


def _z(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
