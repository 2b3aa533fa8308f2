"""Segmentation: Segment Anything models that are prompted with a box or a point.

A run of such a model is like any other. Its engine is a `Segmenter`: a skill asks it with a text that names an image
and a prompt, and it replies with a map as text. So individuals, archives, reports and resuming are what they are for
chat models, and no container is needed.

Public: `resolve_sam` with `TINY_SAM`, the small base; `check_sam`; `Segmenter`. `learning` trains, for
`cycleqd.experts`.
"""

from cycleqd.models.segmentation.base import TINY_SAM, resolve_sam
from cycleqd.models.segmentation.segmenter import Segmenter
from cycleqd.models.segmentation.shape import check_sam

__all__ = ["TINY_SAM", "Segmenter", "check_sam", "resolve_sam"]
