"""Trainers: who fine-tunes a model on conversations.

Every trainer learns the same from the same settings: what is encoded, the order of the conversations, the model, the
loss and the form of the expert are shared (`cycleqd.experts.lessons`, `cycleqd.experts.learner`). They differ in how
they compute it. ``loop`` is one process, this one, and can be repeated bit for bit. ``transformers`` is the Trainer of
that library in processes of its own: several GPUs through accelerate, FSDP and DeepSpeed by a file of the user's.

The rows are in `cycleqd.seams.TRAINERS`.

Public: `Trainer`, `TrainingFailed`.
"""

from cycleqd.experts.trainers.protocol import Trainer, TrainingFailed

__all__ = ["Trainer", "TrainingFailed"]
