"""What generated pictures are painted with: smooth noise, blobs, strokes, shades."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float64]
"""A number for each pixel, shape (size, size)."""
Colour = tuple[float, float, float]
"""Red, green, blue, each in [0, 1]."""


def noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise in about [0, 1].

    Args:
        rng: Draws it.
        size: Width and height in pixels.
        cells: Bumps from side to side; more are finer.
    """
    coarse = Image.fromarray(rng.random((cells + 1, cells + 1)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def grid(size: int) -> tuple[Field, Field]:
    """Each pixel's row and column, from -1 to 1."""
    line = np.linspace(-1, 1, size)
    rows, columns = np.meshgrid(line, line, indexing="ij")
    return rows, columns


def blob(
    rng: np.random.Generator, size: int, *, radius: tuple[float, float], rough: float = 0.15, reach: float = 0.5
) -> Field:
    """How deep each pixel lies in a roundish shape: 1 in its middle, 0 on its edge, negative outside.

    Args:
        rng: Draws it.
        size: Width and height in pixels.
        radius: Least and greatest radius, with 1 half the image.
        rough: How far the edge leaves an ellipse, as a share of the radius.
        reach: The middle is at most so far from the image's.
    """
    rows, columns = grid(size)
    row, column = rng.uniform(-reach, reach, 2)
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    y, x = rows - row, columns - column
    along, across = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squeeze
    angle = np.arctan2(across, along)
    edge = np.ones_like(angle)
    for wave in range(2, 6):
        edge += rough * rng.normal() / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    size_of = rng.uniform(*radius)
    return np.asarray(1 - np.hypot(along, across) / (size_of * np.clip(edge, 0.4, 1.8)), dtype=np.float64)


def strokes(rng: np.random.Generator, size: int, *, count: int, width: float, bend: float = 0.3) -> Field:
    """Thin curved lines from side to side, as shares in [0, 1]: veins, vessels, hairs."""
    rows, columns = grid(size)
    covered = np.zeros((size, size))
    for _ in range(count):
        turn = rng.uniform(0, np.pi)
        along, across = (
            columns * np.cos(turn) + rows * np.sin(turn),
            rows * np.cos(turn) - columns * np.sin(turn),
        )
        path = rng.uniform(-0.9, 0.9) + bend * np.sin(along * rng.uniform(1, 4) + rng.uniform(0, 6))
        covered = np.maximum(covered, np.exp(-(((across - path) / width) ** 2)))
    return covered


def mix(one: NDArray[np.float64], two: NDArray[np.float64] | Colour, share: Field) -> NDArray[np.float64]:
    """`share` of the second image over the first, pixel by pixel."""
    return one + (np.asarray(two) - one) * np.clip(share, 0, 1)[..., None]


def between(one: Colour, two: Colour, share: Field) -> NDArray[np.float64]:
    """Each pixel's colour between two."""
    return mix(np.broadcast_to(np.asarray(one), (*share.shape, 3)), two, share)


def to_bytes(image: NDArray[np.float64], rng: np.random.Generator, grain: float = 0.02) -> NDArray[np.uint8]:
    """The image as uint8, with a sensor's grain."""
    grainy = image + rng.normal(0, grain, image.shape)
    return np.asarray(np.round(np.clip(grainy, 0, 1) * 255), dtype=np.uint8)
