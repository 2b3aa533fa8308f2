"""Images for a language model: a vision tower and a projector stand in front of it, as in LLaVA.

The language model is the run's base, and it alone is evolved. The tower and the projector come from a LLaVA checkpoint
(`Vision`), or are trained here once (`resolve_vision`), and never change within a run. `Sight` puts what they see
between the embeddings of a conversation's words.

Public: `Sight`, `Vision`, `resolve_vision`, the engines `SeeingEngine` and `SharedEngine`.
"""

from cycleqd.models.vision_language.base import TINY_VISION, resolve_vision
from cycleqd.models.vision_language.engine import SeeingEngine, SharedEngine
from cycleqd.models.vision_language.sight import Sight
from cycleqd.models.vision_language.vision import Vision

__all__ = ["TINY_VISION", "SeeingEngine", "SharedEngine", "Sight", "Vision", "resolve_vision"]
