"""Trainers by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

_TRAINERS = "cycleqd.experts.trainers"

TRAINERS = SeamTable(
    "trainer",
    {
        "loop": Row(f"{_TRAINERS}.loop:Loop", "this process alone (`cycleqd.experts.training`)"),
        "transformers": Row(
            f"{_TRAINERS}.transformers:TransformersTrainer", "https://huggingface.co/docs/transformers/trainer"
        ),
    },
)
"""Fulfil `cycleqd.experts.trainers.Trainer`; a class is called with those settings of ``experts.trainer`` that it
names."""
