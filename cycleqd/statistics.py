"""Intervals around scores and differences, right also where every sample came out alike.

* A score is the mean of n samples in [0, 1]: `wilson` gives its interval, which has a width at 0 of n and at n of n,
  where mean ± standard error has none.
* A mean of several skills' scores: `interval_of_mean` puts their intervals together.
* A difference of two individuals that met the same samples: `paired_bootstrap` over samples, and
  `bootstrap_over_seeds` over seeds and samples.

All intervals are for 95 %, two-sided, unless said otherwise. Resampling is seeded: the same scores give the same
interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Probability with which an interval holds the true value, were the run repeated with other samples."""

RESAMPLES = 4000
"""Draws of a bootstrap: its ends move by about 2 % of the interval's width between seeds."""

SEED = 20410
"""Of all bootstraps; any number will do, as long as it stays."""

Values = Sequence[float] | NDArray[np.float64]


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


def paired_bootstrap(
    skills: Sequence[Values], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """The percentile interval of a mean difference (Efron 1979): each skill's samples are drawn with replacement.

    Where all of a skill's samples differ alike there is nothing to draw from. Then one sample of +1 and one of −1 are
    added to them (Bonett and Price 2012, https://doi.org/10.3102/1076998611411915, do so for paired proportions), so
    that "no difference in 20 samples" comes with what 20 samples can tell.

    Args:
        skills: For each skill the differences of its samples, in [-1, 1], each at least one; the estimate is the
            unweighted mean of the skills' means.
        confidence: In (0, 1).
        resamples: How often, at least 1.
        seed: Fixes the draws, at least 0.

    Raises:
        ValueError: There are no skills, or one has no samples.
    """
    means = _resampled([skills], resamples, seed).mean(axis=0)
    return _percentiles(means, _estimate(skills), confidence)


def bootstrap_over_seeds(
    seeds: Sequence[Sequence[Values]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The same for several seeds of a run: seeds are drawn anew, and within each its samples.

    With few seeds such intervals are rather too narrow: three seeds show little of what a fourth might do.

    Args:
        seeds: For each seed what `paired_bootstrap` takes.
        confidence: In (0, 1).
        resamples: How often, at least 1.
        seed: Fixes the draws, at least 0.

    Raises:
        ValueError: There are no seeds, or one has no skills or samples.
    """
    means = _resampled(seeds, resamples, seed)
    count = len(means)
    drawn = np.random.default_rng([seed, resamples, count]).integers(count, size=(count, resamples))
    estimate = math.fsum(_estimate(skills) for skills in seeds) / count
    return _percentiles(np.take_along_axis(means, drawn, axis=0).mean(axis=0), estimate, confidence)


def _resampled(seeds: Sequence[Sequence[Values]], resamples: int, seed: int) -> NDArray[np.float64]:
    """Means over skills, shape (seeds, resamples)."""
    if not seeds or not all(len(skills) and all(len(values) for values in skills) for skills in seeds):
        raise ValueError("a bootstrap needs seeds, skills and samples, at least one of each")
    rows = []
    for place, skills in enumerate(seeds):
        total = np.zeros(resamples)
        for number, values in enumerate(skills):
            differences = _with_something_to_draw(np.asarray(values, dtype=np.float64))
            total += _shares(len(differences), resamples, (seed, place, number)) @ differences
        rows.append(total / len(skills))
    return np.array(rows)


def _with_something_to_draw(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    return differences if np.ptp(differences) > 0 else np.append(differences, [1.0, -1.0])


@lru_cache(maxsize=8)
def _shares(n: int, resamples: int, stream: tuple[int, ...]) -> NDArray[np.float64]:
    """How much of each resample every sample is, shape (resamples, n): the same for all differences of a report."""
    counts = np.random.default_rng([*stream, n]).multinomial(n, [1.0 / n] * n, size=resamples)
    return np.asarray(counts / n, dtype=np.float64)


def _estimate(skills: Sequence[Values]) -> float:
    return math.fsum(math.fsum(values) / len(values) for values in skills) / len(skills)


def _percentiles(means: NDArray[np.float64], estimate: float, confidence: float) -> Interval:
    tail = 50.0 * (1.0 - confidence)
    low, high = (float(end) for end in np.percentile(means, [tail, 100.0 - tail]))
    return Interval(min(low, estimate), max(high, estimate))


def _z(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
