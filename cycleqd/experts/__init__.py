"""Experts: the base model fine-tuned on one skill's conversations.

Supervised fine-tuning, the loss only on what the assistant says. LoRA experts (through peft) become factored task
vectors, fully fine-tuned ones dense ones.

What experts learn from is gold episodes or, through `cycleqd.experts.data`, published data sets.

Public: `training.train_expert` with its `TrainingSummary`, `progress.TrainingProgress`, `conversations.Conversation`
and `conversations.encode` (conversation to token ids and labels). Nothing is imported here: a configuration reads the
table of `cycleqd.experts.data.recipes`, and needs no torch.
"""
