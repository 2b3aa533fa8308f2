"""Where an expert comes from, by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

_SOURCES = "cycleqd.experts.sources"

EXPERT_SOURCES = SeamTable(
    "expert source",
    {
        "trained": Row(f"{_SOURCES}.trained:Trained", "fine-tuned by this run (`cycleqd.experts.training`)"),
        "adapter": Row(f"{_SOURCES}.adapter:Adapter", "LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685"),
        "checkpoint": Row(
            f"{_SOURCES}.checkpoint:Checkpoint", "task vectors, Ilharco et al. 2023, https://arxiv.org/abs/2212.04089"
        ),
    },
)
"""Fulfil `cycleqd.experts.sources.ExpertSource`; a class is called with the folder that holds the expert."""
