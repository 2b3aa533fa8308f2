"""Intervals around differences of two individuals that met the same samples, by resampling.

`paired_bootstrap` draws samples, `bootstrap_over_seeds` seeds and samples. Resampling is seeded: the same scores give
the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cycleqd.statistics import CONFIDENCE, Interval

RESAMPLES = 4000
"""Draws of a bootstrap: its ends move by about 2 % of the interval's width between seeds."""

SEED = 20410
"""Of all bootstraps; any number will do, as long as it stays."""

Values = Sequence[float] | NDArray[np.float64]


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
    return bootstrap_over_seeds([skills], confidence=confidence, resamples=resamples, seed=seed)


def bootstrap_over_seeds(
    seeds: Sequence[Sequence[Values]],
    samples: Sequence[Sequence[str]] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The same for several seeds of a run: seeds are drawn anew, and samples with them.

    Where seeds met samples of their own, a seed that is drawn twice gets two draws of its samples (Davison and Hinkley
    1997, section 3.8). Where all seeds met the same samples of a skill, as those of a benchmark, one draw of samples
    holds for all of them (Owen 2007, https://doi.org/10.1214/07-AOAS122): further seeds add no further samples.

    With few seeds such intervals are rather too narrow: three seeds show little of what a fourth might do. Where seeds
    differ in nothing but their own samples, they are too wide, by at most a factor of 1.4: the draw of seeds then
    counts the choice of samples a second time.

    Args:
        seeds: For each seed what `paired_bootstrap` takes, with the skills in one order.
        samples: For each seed and skill a hash of the content of its samples. Ids are not enough: generated pictures
            have the same in every seed. A skill has common samples if its hashes are equal; its values must then have
            one order, too. None: every seed met samples of its own.
        confidence: In (0, 1).
        resamples: How often, at least 1.
        seed: Fixes the draws, at least 0.

    Raises:
        ValueError: There are no seeds, or one has no skills or samples; seeds differ in how many skills they have;
            common samples differ in number.
    """
    _refuse_unfit(seeds, samples)
    count = len(seeds)
    drawn = np.random.default_rng([seed, resamples, count]).integers(count, size=(count, resamples))
    total = np.zeros(drawn.shape)
    for number, scores in enumerate(zip(*seeds, strict=True)):
        common = samples is not None and len({hashes[number] for hashes in samples}) == 1
        total += (_common_draws if common else _own_draws)(scores, drawn, seed, number)
    estimate = math.fsum(_estimate(skills) for skills in seeds) / count
    return _percentiles(total.mean(axis=0) / len(seeds[0]), estimate, confidence)


def _refuse_unfit(seeds: Sequence[Sequence[Values]], samples: Sequence[Sequence[str]] | None) -> None:
    if not seeds or not all(len(skills) and all(len(values) for values in skills) for skills in seeds):
        raise ValueError("a bootstrap needs seeds, skills and samples, at least one of each")
    counts = [len(skills) for skills in seeds]
    if len(set(counts)) > 1 or (samples is not None and [len(hashes) for hashes in samples] != counts):
        raise ValueError(
            f"a bootstrap needs the same skills in every seed, each with a hash of its samples; got {counts} skills"
        )


def _own_draws(scores: Sequence[Values], drawn: NDArray[np.int64], seed: int, skill: int) -> NDArray[np.float64]:
    """Means of one skill, shape (places, resamples): a seed that is drawn twice has two draws of its samples."""
    means = np.empty(drawn.shape)
    for place, values in enumerate(scores):
        (differences,) = _with_something_to_draw(np.asarray([values], dtype=np.float64))
        chosen = drawn == place
        shares = _shares(len(differences), int(np.count_nonzero(chosen)), (seed, place, skill))
        means[chosen] = shares @ differences
    return means


def _common_draws(scores: Sequence[Values], drawn: NDArray[np.int64], seed: int, skill: int) -> NDArray[np.float64]:
    """Likewise, with one draw of samples for all places of a resample."""
    if len({len(values) for values in scores}) > 1:
        raise ValueError(f"seeds with common samples need equally many, got {[len(values) for values in scores]}")
    differences = _with_something_to_draw(np.asarray(scores, dtype=np.float64))
    shares = _shares(differences.shape[1], drawn.shape[1], (seed, 0, skill))
    return np.take_along_axis(differences @ shares.T, drawn, axis=0)


def _with_something_to_draw(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of seeds that share samples, shape (seeds, n), or (seeds, n + 2) where no seed's samples differ."""
    if np.ptp(differences, axis=1).any():
        return differences
    return np.hstack([differences, np.tile([1.0, -1.0], (len(differences), 1))])


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
