"""Trackers by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

_TRACKING = "cycleqd.tracking"

TRACKERS = SeamTable(
    "tracker",
    {
        "mlflow": Row(f"{_TRACKING}.mlflow:MLflow", "https://mlflow.org"),
        "tensorboard": Row(f"{_TRACKING}.tensorboard:TensorBoard", "https://www.tensorflow.org/tensorboard"),
        "wandb": Row(f"{_TRACKING}.wandb:WandB", "https://docs.wandb.ai"),
    },
)
"""Fulfil `cycleqd.tracking.Tracker`; a class is called with its settings and imports its package when it is opened."""
