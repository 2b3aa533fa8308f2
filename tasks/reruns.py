"""Scheduled reruns: one flow, and for each of its flow runs a run of its own."""

from __future__ import annotations

from datetime import datetime

RERUN = "rerun"
"""Name of the flow."""


def rerun_id(run_id: str, moment: datetime) -> str:
    """Id of the run that a flow run of `RERUN`, scheduled for `moment`, works on."""
    return f"{run_id}-{moment:%Y%m%d-%H%M}"
