"""Images and maps: reading files, and maps as text, which is how a segmenter replies."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cycleqd.skills.segmentation.metrics import Map, Mask

Foreground = Literal["bright", "coloured", "red"]
"""Which pixels of a mask's file are the object: ``bright`` from 128 on, ``coloured`` where any channel is from 64 on,
``red`` where red is from 128 on and green below."""

_LEVELS: Final = 255
_MOST_REPLY: Final = 16 * 2**20
"""Characters of a reply that are looked at."""
_LOOK: Final = (64, 64)


class Picture(NamedTuple):
    """An image and where its object is.

    Attributes:
        image: RGB, shape (height, width, 3), uint8.
        mask: Shape (height, width).
    """

    image: NDArray[np.uint8]
    mask: Mask


def read_picture(image: Path, mask: Path, foreground: Foreground) -> Picture:
    """Reads both files of a picture.

    Raises:
        OSError: One cannot be read.
    """
    with Image.open(image) as one, Image.open(mask) as two:
        rgb = np.asarray(one.convert("RGB"), dtype=np.uint8)
        channels = np.asarray(two.convert("L" if foreground == "bright" else "RGB"))
    if foreground == "bright":
        return Picture(rgb, channels >= 128)
    if foreground == "coloured":
        return Picture(rgb, channels.max(axis=2) >= 64)
    return Picture(rgb, (channels[..., 0] >= 128) & (channels[..., 1] < 128))


def fault_of(image: Path, mask: Path) -> str | None:
    """What keeps a pair of files from being used, in one line; None where nothing does. Decodes both, coarsely."""
    sizes = []
    for what, path in (("image", image), ("mask", mask)):
        if not path.is_file():
            return f"{image.name}: its mask {mask.parent.name}/{mask.name} is missing"
        try:
            with Image.open(path) as opened:
                sizes.append(opened.size)
                opened.draft(opened.mode, _LOOK)
                opened.load()
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
            return f"{path.name}: the {what} cannot be read ({type(error).__name__})"
    if sizes[0] != sizes[1]:
        (width, height), (other_width, other_height) = sizes
        return f"{image.name}: the image has {width} x {height} pixels, its mask {other_width} x {other_height}"
    return None


def map_to_text(probabilities: Map) -> str:
    """A map as base64 of a grey PNG with 256 levels, which is how the field keeps predictions.

    Args:
        probabilities: In [0, 1].
    """
    grey = Image.fromarray(np.round(np.clip(probabilities, 0, 1) * _LEVELS).astype(np.uint8))
    content = io.BytesIO()
    grey.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def text_to_map(text: str) -> Map | None:
    """Reads what `map_to_text` wrote; None for any other text."""
    if not text or len(text) > _MOST_REPLY:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as grey:
            if grey.mode != "L":
                return None
            return np.asarray(grey, dtype=np.float64) / _LEVELS
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError):
        return None
