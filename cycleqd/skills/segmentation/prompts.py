"""Prompts: where a segmenter is told to look.

A prompt is made of the truth, as in SAM's own training (Kirillov et al. 2023, https://arxiv.org/abs/2304.02643), or of
nothing: ``whole`` is a box around the whole image, which gives nothing away. Then the model has to know itself what to
look for, and that is what a domain's expert learns.
"""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple

import numpy as np

from cycleqd.skills.segmentation.distance import nearest_foreground
from cycleqd.skills.segmentation.metrics import Mask

Kind = Literal["whole", "box", "point"]
KINDS: Final[tuple[Kind, ...]] = ("whole", "box", "point")


class Prompt(NamedTuple):
    """A box or a point, in pixels of the image.

    Attributes:
        box: x0, y0, x1, y1, the ends not included; None where it is a point.
        point: x, y; None where it is a box.
    """

    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None


def prompt_of(mask: Mask, kind: Kind) -> Prompt:
    """The prompt for an object; an empty mask gets the whole image.

    Args:
        mask: The truth.
        kind: ``box`` is the object's bounding box, ``point`` the pixel of it that is farthest from its edge.
    """
    height, width = mask.shape
    if kind == "whole" or not mask.any():
        return Prompt(box=(0.0, 0.0, float(width), float(height)))
    rows, columns = np.nonzero(mask)
    if kind == "box":
        left, top = float(columns.min()), float(rows.min())
        return Prompt(box=(left, top, float(columns.max()) + 1, float(rows.max()) + 1))
    depth = nearest_foreground(np.pad(~mask, 1, constant_values=True)).distance[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Prompt(point=(float(column) + 0.5, float(row) + 0.5))


def to_message(image: str, prompt: Prompt) -> str:
    """What a segmenter is asked, as JSON: the sample's id, and the prompt."""
    if prompt.box is not None:
        return json.dumps({"image": image, "box": list(prompt.box)})
    return json.dumps({"image": image, "point": list(prompt.point or ())})


def from_message(text: str) -> tuple[str, Prompt]:
    """Reads what `to_message` wrote.

    Raises:
        ValueError: It is another text: the skill is none of segmentation.
    """
    try:
        asked = json.loads(text)
        image, box, point = asked["image"], asked.get("box"), asked.get("point")
        if box is not None:
            x0, y0, x1, y1 = map(float, box)
            return str(image), Prompt(box=(x0, y0, x1, y1))
        x, y = map(float, point)
        return str(image), Prompt(point=(x, y))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a segmenter is asked with an image and a prompt, got {text[:80]!r}") from error
