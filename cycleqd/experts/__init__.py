"""Experts: the base model fine-tuned on one skill's conversations.

Supervised fine-tuning, the loss only on what the assistant says. LoRA experts (through peft) become factored task
vectors, fully fine-tuned ones dense ones.

What experts learn from is gold episodes or, through `cycleqd.experts.data`, published data sets.

Public: `train_expert`, its `TrainingSettings`, `TrainingSummary` and `TrainingProgress`; `Conversation`; `encode`
(conversation to token ids and labels) and `with_room` (for the images of one).
"""

from cycleqd.experts.conversations import IGNORED, Conversation, Encoded, encode, with_room
from cycleqd.experts.progress import TrainingProgress
from cycleqd.experts.settings import TrainingSettings
from cycleqd.experts.summary import TrainingSummary
from cycleqd.experts.training import train_expert

__all__ = [
    "IGNORED",
    "Conversation",
    "Encoded",
    "TrainingProgress",
    "TrainingSettings",
    "TrainingSummary",
    "encode",
    "train_expert",
    "with_room",
]
