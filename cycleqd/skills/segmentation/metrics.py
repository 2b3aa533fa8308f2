"""How good a predicted mask is: the measures that the published data sets are scored with.

A prediction is a map of probabilities, the truth a mask. Dice and IoU (Jaccard) cut the map at 0.5. The four measures
of camouflaged objects take the map as it is, brought to the range from 0 to 1 first, as their authors' programs do.

The library that keeps these measures, `pysodmetrics`, needs OpenCV 4, scikit-image and scikit-learn, which exclude
packages of ours. So they are written here, from the papers, and agree with version 1.6.2 of it to 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cycleqd.skills.segmentation.distance import nearest_foreground

Map = NDArray[np.float64]
"""Probabilities of the object, shape (height, width), in [0, 1]."""
Mask = NDArray[np.bool_]
"""Where the object is, shape (height, width)."""

CUT: Final = 0.5
"""Probabilities from here on count as the object."""
_EPS: Final = float(np.spacing(1))
_LEVELS: Final = 256
_BLUR: Final = 7
_BLUR_SIGMA: Final = 5.0


def dice(predicted: Map, truth: Mask) -> float:
    """Dice coefficient 2 |P ∩ T| / (|P| + |T|) (Dice 1945), in [0, 1]; 1 where both are empty.

    Args:
        predicted: The map, here and below.
        truth: The mask, of the same shape.

    Raises:
        ValueError: The shapes differ, or values are outside [0, 1].
    """
    cut, truth = _checked(predicted, truth)[0] >= CUT, truth.astype(bool)
    total = int(cut.sum()) + int(truth.sum())
    return 2 * int((cut & truth).sum()) / total if total else 1.0


def iou(predicted: Map, truth: Mask) -> float:
    """Intersection over union |P ∩ T| / |P ∪ T|, which skin lesions' tables call Jaccard; see `dice`."""
    cut, truth = _checked(predicted, truth)[0] >= CUT, truth.astype(bool)
    union = int((cut | truth).sum())
    return int((cut & truth).sum()) / union if union else 1.0


def mean_absolute_error(predicted: Map, truth: Mask) -> float:
    """Mean over pixels of |P − T|, in [0, 1]; 0 is best. See `dice`."""
    predicted, truth = _stretched(predicted, truth)
    return float(np.abs(predicted - truth).mean())


def structure_measure(predicted: Map, truth: Mask) -> float:
    """Structure measure S with α = 0.5, in [0, 1] (Fan 2017, https://arxiv.org/abs/1708.00786).

    Half of it compares objects: how bright and how even the map is inside and outside the mask. Half compares regions:
    the four quarters around the mask's centroid, by structural similarity. See `dice`.
    """
    predicted, truth = _stretched(predicted, truth)
    share = float(truth.mean())
    if share == 0.0:
        return 1.0 - float(predicted.mean())
    if share == 1.0:
        return float(predicted.mean())
    objects = share * _object(predicted[truth]) + (1 - share) * _object(1 - predicted[~truth])
    return float(min(1.0, max(0.0, 0.5 * objects + 0.5 * _regions(predicted, truth))))


def enhanced_alignment(predicted: Map, truth: Mask) -> float:
    """Enhanced-alignment measure E, the mean over 256 thresholds, in [0, 1] (Fan 2018, https://arxiv.org/abs/1805.10421).

    See `dice`.
    """
    predicted, truth = _stretched(predicted, truth)
    levels = (predicted * (_LEVELS - 1)).astype(np.uint8)
    size, inside = truth.size, int(truth.sum())
    # Of the pixels at or above each threshold, how many are inside and outside the mask.
    hits = np.bincount(levels[truth], minlength=_LEVELS)[::-1].cumsum()
    strays = np.bincount(levels[~truth], minlength=_LEVELS)[::-1].cumsum()
    found = hits + strays
    if inside == 0:
        total = (size - found).astype(float)
    elif inside == size:
        total = found.astype(float)
    else:
        mean_p, mean_t = found / size, inside / size
        parts = [
            (hits, 1 - mean_p, 1 - mean_t),
            (strays, 1 - mean_p, -mean_t),
            (inside - hits, -mean_p, 1 - mean_t),
            (size - inside - strays, -mean_p, -mean_t),
        ]
        total = np.zeros(_LEVELS)
        for count, p, t in parts:
            aligned = 2 * p * t / (p**2 + t**2 + _EPS)
            total += count * (aligned + 1) ** 2 / 4
    return float(min(1.0, (total / (size - 1 + _EPS)).mean()))


def weighted_f(predicted: Map, truth: Mask) -> float:
    """Weighted F measure with β = 1, in [0, 1] (Margolin 2014, https://doi.org/10.1109/CVPR.2014.39).

    Errors near each other inside the mask count less, errors far outside it count more. An empty mask gives 0.
    See `dice`.
    """
    predicted, truth = _stretched(predicted, truth)
    if not truth.any():
        return 0.0
    error = np.abs(predicted - truth)
    distance, rows, columns = nearest_foreground(truth)
    blurred = _blurred(np.where(truth, error, error[rows, columns]))
    least = np.where(truth & (blurred < error), blurred, error)
    weighted = least * np.where(truth, 1.0, 2.0 - np.exp(math.log(0.5) / 5 * distance))
    right = truth.sum() - weighted[truth].sum()
    recall = 1 - weighted[truth].mean()
    precision = right / (right + weighted[~truth].sum() + _EPS)
    return float(min(1.0, max(0.0, 2 * recall * precision / (recall + precision + _EPS))))


METRICS: Final[Mapping[str, Callable[[Map, Mask], float]]] = {
    "structure": structure_measure,
    "e_measure": enhanced_alignment,
    "weighted_f": weighted_f,
    "mae": mean_absolute_error,
    "dice": dice,
    "iou": iou,
}
"""The measures by name; all are in [0, 1], and all but ``mae`` are better when higher."""


def _checked(predicted: Map, truth: Mask) -> tuple[Map, Mask]:
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise ValueError(f"the prediction has shape {predicted.shape}, the mask {truth.shape}; they must be the same")
    if not predicted.size or not np.isfinite(predicted).all() or predicted.min() < 0 or predicted.max() > 1:
        raise ValueError("a prediction's values must be probabilities in [0, 1]")
    return predicted.astype(np.float64), truth.astype(bool)


def _stretched(predicted: Map, truth: Mask) -> tuple[Map, Mask]:
    predicted, truth = _checked(predicted, truth)
    low, high = predicted.min(), predicted.max()
    return ((predicted - low) / (high - low) if high > low else predicted), truth


def _object(values: Map) -> float:
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _EPS)


def _regions(predicted: Map, truth: Mask) -> float:
    rows, columns = np.nonzero(truth)
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    total = 0.0
    for part in (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]):
        if truth[part].size:
            total += truth[part].size / truth.size * _similarity(predicted[part], truth[part].astype(float))
    return total


def _similarity(p: Map, t: Map) -> float:
    """Structural similarity of two parts of an image, without the constants that Wang 2004 adds."""
    n, mean_p, mean_t = p.size, float(p.mean()), float(t.mean())
    if n == 1:
        return 1.0  # one pixel has no structure to miss
    variance_p, variance_t = ((p - mean_p) ** 2).sum() / (n - 1), ((t - mean_t) ** 2).sum() / (n - 1)
    covariance = ((p - mean_p) * (t - mean_t)).sum() / (n - 1)
    above = 4 * mean_p * mean_t * covariance
    below = (mean_p**2 + mean_t**2) * (variance_p + variance_t)
    if above != 0:
        return float(above / (below + _EPS))
    return 1.0 if below == 0 else 0.0


def _blurred(image: Map) -> Map:
    """A Gaussian of 7 x 7 pixels and σ = 5; outside the image everything is 0."""
    reach = _BLUR // 2
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * _BLUR_SIGMA**2))
    line /= line.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if axis == one else (0, 0) for one in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, _BLUR, axis=axis)
        image = windows @ line
    return image
