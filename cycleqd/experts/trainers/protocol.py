"""What a trainer is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from cycleqd.experts.conversations import Conversation
from cycleqd.experts.progress import ProgressCallback
from cycleqd.experts.resuming import Place
from cycleqd.experts.settings import TrainingSettings
from cycleqd.experts.summary import TrainingSummary

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight


class TrainingFailed(RuntimeError):
    """A process that trained ended before it was done; the text has what it said last."""


class Trainer(Protocol):
    """A row of `cycleqd.seams.TRAINERS`.

    Attributes:
        STATE: Name of the file that the state of a training is kept in; forms differ from trainer to trainer.
        SEES: Whether it trains on conversations that show images.
    """

    STATE: ClassVar[str]
    SEES: ClassVar[bool]

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
        """Fine-tunes the base on conversations and saves the expert.

        Args:
            base: The base's checkpoint directory.
            conversations: Each with at least one assistant turn.
            out: Directory for the expert; see `cycleqd.experts.learner.save_expert`.
            settings: What decides what is learned.
            sight: Sees the images that conversations show, and is not trained; None where they show none.
            progress: Called after each step; by default a progress bar, or log lines without a terminal.
            stop: When set, training ends within seconds, and no expert is saved.
            place: Where the state of the training is kept now and then, and when it is stopped. A state that it has
                is taken up if it is of the same settings and conversations.

        Raises:
            TrainingStopped: `stop` was set.
            TrainingFailed: A process of its own died.
            ValueError: Nothing to train on, images that cannot be shown, or the kept state is damaged.
            RuntimeError: The loss is not finite any more.
        """
        ...
