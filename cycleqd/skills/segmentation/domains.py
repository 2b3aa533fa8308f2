"""Generated pictures: four domains like those of the paper, and the plain shapes that the small base learns first.

A domain has six variations (palettes and textures). The train and optimization splits have the first four; the test
split has all six, so that a third of it is new in kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from cycleqd.randomness import rng as stream
from cycleqd.skills.protocol import Split
from cycleqd.skills.segmentation.drawing import Colour, between, blob, grid, mix, noise, strokes, to_bytes
from cycleqd.skills.segmentation.pictures import Picture

VARIATIONS: Final = 6
SEEN: Final = 4
"""So many variations are in the train and optimization splits."""
Draw = Callable[[np.random.Generator, int, int], Picture]
"""(random generator, pixels, variation) -> picture."""

_TEXTURES: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((0.35, 0.30, 0.18), (0.62, 0.58, 0.38)),
    ((0.20, 0.30, 0.16), (0.45, 0.52, 0.30)),
    ((0.42, 0.36, 0.30), (0.74, 0.70, 0.62)),
    ((0.25, 0.26, 0.28), (0.55, 0.56, 0.55)),
    ((0.40, 0.22, 0.14), (0.68, 0.45, 0.30)),
    ((0.16, 0.28, 0.32), (0.42, 0.56, 0.58)),
)
_MUCOSA: Final[tuple[Colour, ...]] = (
    (0.78, 0.38, 0.30),
    (0.72, 0.32, 0.26),
    (0.82, 0.46, 0.36),
    (0.66, 0.30, 0.28),
    (0.80, 0.54, 0.40),
    (0.58, 0.24, 0.18),
)
_SKIN: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((0.90, 0.74, 0.66), (0.42, 0.26, 0.20)),
    ((0.86, 0.68, 0.58), (0.36, 0.20, 0.16)),
    ((0.80, 0.60, 0.50), (0.30, 0.18, 0.14)),
    ((0.92, 0.78, 0.74), (0.55, 0.34, 0.28)),
    ((0.64, 0.46, 0.36), (0.24, 0.14, 0.10)),
    ((0.88, 0.70, 0.70), (0.34, 0.24, 0.28)),
)
_LEAVES: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((0.22, 0.46, 0.18), (0.52, 0.36, 0.16)),
    ((0.30, 0.54, 0.22), (0.62, 0.50, 0.20)),
    ((0.18, 0.40, 0.20), (0.44, 0.28, 0.14)),
    ((0.36, 0.58, 0.26), (0.58, 0.40, 0.22)),
    ((0.28, 0.50, 0.30), (0.70, 0.62, 0.30)),
    ((0.42, 0.56, 0.18), (0.38, 0.20, 0.12)),
)


def camouflage(rng: np.random.Generator, size: int, variation: int) -> Picture:
    """An animal whose coat has its surroundings' colours, and another texture."""
    low, high = _TEXTURES[variation]
    around = 0.6 * noise(rng, size, 6) + 0.4 * noise(rng, size, 20)
    coat = 0.5 * noise(rng, size, 12) + 0.5 * (0.5 + 0.5 * np.sin(noise(rng, size, 3) * rng.uniform(20, 32)))
    depth = blob(rng, size, radius=(0.35, 0.6), rough=0.3, reach=0.35)
    image = mix(between(low, high, around), between(low, high, coat), np.clip(depth * 12 + 0.5, 0, 1))
    return Picture(to_bytes(image, rng), depth > 0)


def polyp(rng: np.random.Generator, size: int, variation: int) -> Picture:
    """A bump on mucosa: lit from above, with vessels and highlights, in an endoscope's round view."""
    rows, columns = grid(size)
    wall = np.asarray(_MUCOSA[variation])
    light = 1.05 - 0.45 * np.hypot(rows - rng.uniform(-0.3, 0.3), columns - rng.uniform(-0.3, 0.3))
    folds = 0.12 * np.sin(noise(rng, size, 3) * 14)
    image = wall * (light + folds)[..., None]
    image = mix(image, tuple(wall * 0.6), 0.5 * strokes(rng, size, count=4, width=0.02))
    depth = blob(rng, size, radius=(0.25, 0.55), rough=0.12, reach=0.4)
    bump = np.sqrt(np.clip(depth, 0, 1))
    tissue = wall * np.array([1.0, 1.12, 1.1]) * (0.72 + 0.45 * bump + 0.1 * noise(rng, size, 14))[..., None]
    image = mix(image, tissue, np.clip(depth * 14 + 0.5, 0, 1))
    image *= (1 - 0.35 * np.exp(-((depth / 0.12) ** 2)) * (depth < 0))[..., None]
    for _ in range(int(rng.integers(1, 5))):
        image = mix(image, (1.0, 0.98, 0.95), np.clip(blob(rng, size, radius=(0.03, 0.07), reach=0.7) * 4, 0, 1))
    image *= np.clip((1.35 - np.hypot(rows, columns)) * 6, 0, 1)[..., None]
    return Picture(to_bytes(image, rng), depth > 0)


def skin(rng: np.random.Generator, size: int, variation: int) -> Picture:
    """A pigmented lesion under hairs."""
    tone, pigment = _SKIN[variation]
    image = between(tone, tuple(0.85 * np.asarray(tone)), 0.6 * noise(rng, size, 3) + 0.4 * noise(rng, size, 24))
    depth = blob(rng, size, radius=(0.25, 0.65), rough=0.28, reach=0.3)
    faded = between(pigment, tone, 0.35 * noise(rng, size, 6) + 0.15 * noise(rng, size, 20))
    image = mix(image, faded, np.clip(depth * rng.uniform(3, 9) + 0.45, 0, 0.95))
    image = mix(image, (0.12, 0.08, 0.07), 0.8 * strokes(rng, size, count=int(rng.integers(0, 6)), width=0.015))
    return Picture(to_bytes(image, rng), depth > 0)


def leaf(rng: np.random.Generator, size: int, variation: int) -> Picture:
    """A leaf with veins, and the spots of a disease on it: several small objects."""
    green, sick = _LEAVES[variation]
    plate = blob(rng, size, radius=(0.8, 0.95), rough=0.06, reach=0.1)
    ground = between((0.55, 0.52, 0.48), (0.78, 0.76, 0.72), noise(rng, size, 5))
    surface = between(tuple(0.8 * np.asarray(green)), tuple(1.2 * np.asarray(green)), noise(rng, size, 8))
    surface = mix(surface, tuple(1.35 * np.asarray(green)), 0.6 * strokes(rng, size, count=5, width=0.025, bend=0.1))
    image = mix(ground, surface, np.clip(plate * 20 + 0.5, 0, 1))
    mask = np.zeros((size, size), dtype=bool)
    for _ in range(int(rng.integers(2, 6))):
        spot = blob(rng, size, radius=(0.12, 0.28), rough=0.25, reach=0.55)
        spot = np.minimum(spot, plate * 4)
        shade = between(sick, tuple(1.4 * np.asarray(sick)), np.clip(spot, 0, 1) * 0.8 + 0.2 * noise(rng, size, 16))
        image = mix(image, shade, np.clip(spot * 7 + 0.5, 0, 1))
        mask |= spot > 0
    return Picture(to_bytes(image, rng), mask)


def shapes(rng: np.random.Generator, size: int, variation: int) -> Picture:
    """One shape of any colour and texture on a ground of another: what the small base learns before any domain."""
    ground = between(tuple(rng.random(3)), tuple(rng.random(3)), noise(rng, size, int(rng.integers(2, 16))))
    inside = between(tuple(rng.random(3)), tuple(rng.random(3)), noise(rng, size, int(rng.integers(2, 16))))
    if rng.random() < 0.5:
        depth = blob(rng, size, radius=(0.2, 0.7), rough=rng.uniform(0, 0.4), reach=0.4)
    else:
        rows, columns = grid(size)
        turn, (row, column) = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4, 2)
        y, x = rows - row, columns - column
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        high, wide = rng.uniform(0.2, 0.6, 2)
        depth = np.minimum(1 - np.abs(along) / wide, 1 - np.abs(across) / high)
    image = mix(ground, inside, np.clip(depth * rng.uniform(5, 20) + 0.5, 0, 1))
    image = mix(image, tuple(rng.random(3)), 0.7 * strokes(rng, size, count=int(rng.integers(0, 4)), width=0.02))
    return Picture(to_bytes(image, rng), depth > 0)


DOMAINS: Final[Mapping[str, Draw]] = {"camouflage": camouflage, "polyp": polyp, "skin": skin, "leaf": leaf}
"""The four domains of the paper's Table 4, by name."""


def variation_of(split: Split, index: int) -> int:
    """Which variation a sample has: they take turns."""
    return index % (VARIATIONS if split == "test" else SEEN)


@lru_cache(maxsize=2048)
def draw(domain: str, seed: int, split: Split, index: int, size: int) -> Picture:
    """The picture of a sample, always the same for the same arguments; streams of different splits differ.

    Args:
        domain: One of `DOMAINS`.
        seed: Of the suite, at least 0.
        split: The split.
        index: Which sample of it.
        size: Width and height in pixels.
    """
    rng = stream(seed, index, f"segmentation {domain} {split}")
    while True:
        picture = DOMAINS[domain](rng, size, variation_of(split, index))
        if picture.mask.any():  # a blob may lie outside
            picture.image.flags.writeable = picture.mask.flags.writeable = False
            return picture
