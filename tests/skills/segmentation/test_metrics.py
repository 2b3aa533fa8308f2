"""The measures of segmentation: known values, and a reference that is written pixel by pixel from the papers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cycleqd.skills.segmentation.distance import nearest_foreground
from cycleqd.skills.segmentation.metrics import METRICS, dice, iou, weighted_f

TRUTH = np.zeros((6, 8), dtype=bool)
TRUTH[1:4, 2:6] = True
SHIFTED = np.zeros((6, 8))
SHIFTED[2:5, 3:7] = 1.0


def soft(seed, shape):
    """A map with 256 levels that knows something of its mask, and the mask."""
    rng = np.random.default_rng(seed)
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    bumps = sum(
        np.exp(-((rows - rng.uniform(0, height)) ** 2 + (columns - rng.uniform(0, width)) ** 2) / rng.uniform(4, 30))
        for _ in range(3)
    )
    return np.round(255 * np.clip(bumps + 0.15 * rng.random(shape), 0, 1)) / 255, bumps > 0.55


# What pysodmetrics 1.6.2 gives for `soft(seed, shape)`, its maps and masks in 8 bits; E is the mean of its curve.
PYSODMETRICS = [
    (3, (24, 31), {"structure": 0.82105826, "e_measure": 0.79357588, "weighted_f": 0.65660646, "mae": 0.13592136}),
    (4, (40, 28), {"structure": 0.65365504, "e_measure": 0.70563357, "weighted_f": 0.50158083, "mae": 0.15625700}),
    (5, (17, 17), {"structure": 0.64573330, "e_measure": 0.74726553, "weighted_f": 0.65723716, "mae": 0.17187968}),
]


# The reference: loops over pixels.


def reference_structure(p, t):
    share = t.mean()

    def of_object(values):
        n, mean = len(values), sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
        return 2 * mean / (mean**2 + 1 + spread)

    inside = [p[y, x] for y, x in np.ndindex(*p.shape) if t[y, x]]
    outside = [1 - p[y, x] for y, x in np.ndindex(*p.shape) if not t[y, x]]
    objects = share * of_object(inside) + (1 - share) * of_object(outside)
    where = [(y, x) for y, x in np.ndindex(*p.shape) if t[y, x]]
    cy = round(sum(y for y, _ in where) / len(where)) + 1
    cx = round(sum(x for _, x in where) / len(where)) + 1
    regions = 0.0
    for ys, xs in [(a, b) for a in (range(cy), range(cy, p.shape[0])) for b in (range(cx), range(cx, p.shape[1]))]:
        part = [(p[y, x], float(t[y, x])) for y in ys for x in xs]
        if not part:
            continue
        n = len(part)
        mp, mt = sum(a for a, _ in part) / n, sum(b for _, b in part) / n
        rest = max(n - 1, 1)
        vp, vt = sum((a - mp) ** 2 for a, _ in part) / rest, sum((b - mt) ** 2 for _, b in part) / rest
        cov = sum((a - mp) * (b - mt) for a, b in part) / rest
        above, below = 4 * mp * mt * cov, (mp**2 + mt**2) * (vp + vt)
        regions += n / p.size * (above / below if above else float(below == 0))
    return max(0.0, 0.5 * objects + 0.5 * regions)


def reference_alignment(p, t):
    levels, total = np.floor(p * 255), []
    for threshold in range(256):
        cut = levels >= threshold
        mp, mt, summed = cut.mean(), t.mean(), 0.0
        for y, x in np.ndindex(*p.shape):
            a, b = cut[y, x] - mp, t[y, x] - mt
            summed += (2 * a * b / (a * a + b * b + np.spacing(1)) + 1) ** 2 / 4
        total.append(summed / (p.size - 1))
    return min(1.0, sum(total) / 256)


def reference_weighted_f(p, t):
    where = [(x, y) for y, x in np.ndindex(*p.shape) if t[y, x]]
    error = np.abs(p - t)
    spread, dist = error.copy(), np.zeros(p.shape)
    for y, x in np.ndindex(*p.shape):
        if not t[y, x]:
            d2, nx, ny = min(((x - a) ** 2 + (y - b) ** 2, a, b) for a, b in where)
            dist[y, x], spread[y, x] = math.sqrt(d2), error[ny, nx]
    kernel = np.array([[math.exp(-(a * a + b * b) / 50) for a in range(-3, 4)] for b in range(-3, 4)])
    kernel /= kernel.sum()
    weighted = np.zeros(p.shape)
    for y, x in np.ndindex(*p.shape):
        blurred = sum(
            kernel[b + 3, a + 3] * spread[y + b, x + a]
            for b in range(-3, 4)
            for a in range(-3, 4)
            if 0 <= y + b < p.shape[0] and 0 <= x + a < p.shape[1]
        )
        least = min(error[y, x], blurred) if t[y, x] else error[y, x]
        weighted[y, x] = least * (1.0 if t[y, x] else 2 - math.exp(math.log(0.5) / 5 * dist[y, x]))
    right = t.sum() - weighted[t].sum()
    recall, precision = 1 - weighted[t].mean(), right / (right + weighted[~t].sum())
    return 2 * recall * precision / (recall + precision)


REFERENCE = {
    "structure": reference_structure,
    "e_measure": reference_alignment,
    "weighted_f": reference_weighted_f,
    "mae": lambda p, t: sum(abs(p[at] - t[at]) for at in np.ndindex(*p.shape)) / p.size,
}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("seed", [0, 1])
def test_measures_agree_with_a_reference_that_loops_over_pixels(name, seed):
    p, t = soft(seed, (7 + seed, 10 - seed))
    stretched = (p - p.min()) / (p.max() - p.min())
    assert METRICS[name](p, t) == pytest.approx(REFERENCE[name](stretched, t), abs=1e-6)


@pytest.mark.parametrize(("seed", "shape", "expected"), PYSODMETRICS)
def test_measures_agree_with_what_pysodmetrics_gave(seed, shape, expected):
    p, t = soft(seed, shape)
    assert {name: METRICS[name](p, t) for name in expected} == pytest.approx(expected, abs=1e-6)


def test_overlap_of_shifted_boxes_is_counted():
    # Twelve pixels each, six of them shared.
    assert dice(SHIFTED, TRUTH) == 12 / 24
    assert iou(SHIFTED, TRUTH) == 6 / 18


def test_a_perfect_map_is_best_by_every_measure():
    assert {name: measure(TRUTH.astype(float), TRUTH) for name, measure in METRICS.items()} == pytest.approx(
        {name: float(name != "mae") for name in METRICS}
    )


def test_nothing_predicted_where_nothing_is_has_full_overlap():
    nothing = np.zeros((4, 4))
    assert (dice(nothing, nothing > 1), iou(nothing, nothing > 1), weighted_f(nothing, nothing > 1)) == (1.0, 1.0, 0.0)


def test_a_pixel_counts_from_one_half_on():
    truth = np.array([[True, False]])
    assert iou(np.array([[0.5, 0.49]]), truth) == 1.0
    assert iou(np.array([[0.49, 0.5]]), truth) == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_another_size_or_values_that_are_no_probabilities_are_refused(name):
    with pytest.raises(ValueError, match="must be the same"):
        METRICS[name](np.zeros((3, 4)), np.zeros((4, 3), dtype=bool))
    for value in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
            METRICS[name](np.full((3, 3), value), np.ones((3, 3), dtype=bool))


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=15, deadline=None)
@given(st.data(), SHAPES)
def test_measures_stay_between_0_and_1(data, shape):
    p = data.draw(arrays(float, shape, elements=st.floats(0, 1, allow_subnormal=False)))
    t = data.draw(arrays(bool, shape))
    for name, measure in METRICS.items():
        assert 0.0 <= measure(p, t) <= 1.0, name


@settings(max_examples=15, deadline=None)
@given(arrays(bool, SHAPES))
def test_the_nearest_pixel_of_a_mask_is_as_near_as_any(mask):
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            nearest_foreground(mask)
        return
    found = nearest_foreground(mask)
    where = np.argwhere(mask)
    for y, x in np.ndindex(*mask.shape):
        assert mask[found.rows[y, x], found.columns[y, x]]
        least = np.hypot(*(where - (y, x)).T).min()
        assert found.distance[y, x] == pytest.approx(least)
        assert np.hypot(found.rows[y, x] - y, found.columns[y, x] - x) == pytest.approx(least)
