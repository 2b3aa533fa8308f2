"""The settings of a run whose model segments images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cycleqd.config.section import Section


class SegmentationConfig(Section):
    """What segmentation skills show the model; without effect where `model.kind` is ``chat``."""

    image_size: Annotated[int, Field(ge=32, le=1024)] = 64
    """Width and height of generated images, in pixels."""
    prompt: Literal["whole", "box", "point"] = "whole"
    """Where the model is told to look: ``whole`` is a box around the image, which tells nothing; ``box`` the object's
    bounding box; ``point`` a pixel in its middle."""
