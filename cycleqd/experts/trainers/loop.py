"""The trainer of this process: `cycleqd.experts.training`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cycleqd.experts.conversations import Conversation
from cycleqd.experts.progress import ProgressCallback
from cycleqd.experts.resuming import Place
from cycleqd.experts.settings import TrainingSettings
from cycleqd.experts.summary import TrainingSummary
from cycleqd.experts.training import train_expert

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight


class Loop:
    """One process on one device; a training that was killed ends bit for bit as an undisturbed one on a CPU."""

    STATE: ClassVar[str] = "training.safetensors"
    SEES: ClassVar[bool] = True

    def train(
        self,
        base: Path,
        conversations: Sequence[Conversation],
        out: Path,
        settings: TrainingSettings,
        *,
        sight: Sight | None = None,
        progress: ProgressCallback | None = None,
        stop: threading.Event | None = None,
        place: Place | None = None,
    ) -> TrainingSummary:
        """See `cycleqd.experts.trainers.Trainer.train`."""
        return train_expert(base, conversations, out, settings, sight=sight, progress=progress, stop=stop, place=place)
