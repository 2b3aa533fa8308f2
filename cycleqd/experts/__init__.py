"""Experts: the base model fine-tuned on one skill's conversations.

Supervised fine-tuning, the loss only on what the assistant says. LoRA experts (through peft) become factored task
vectors, fully fine-tuned ones dense ones.

Public: `train_expert`, its `TrainingSummary` and `TrainingProgress`; `encode` (conversation to token ids and labels).
"""

from cycleqd.experts.conversations import IGNORED, Encoded, encode
from cycleqd.experts.progress import TrainingProgress
from cycleqd.experts.training import TrainingSummary, train_expert

__all__ = ["IGNORED", "Encoded", "TrainingProgress", "TrainingSummary", "encode", "train_expert"]
