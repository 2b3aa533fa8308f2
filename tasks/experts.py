"""Tasks of the first phase: one expert per skill."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.run.names import RunRef
from cycleqd.steps.workspace import opened
from tasks.options import RETRIED


@task(task_run_name="record {skill} demonstrations", tags=["experts"], **RETRIED)
def record_demonstrations(run: RunRef, skill: str) -> int:
    """Plays the gold episodes of a skill's train split, or reads its data sets; returns how many conversations."""
    with opened(run) as ws:
        conversations = steps.gather_training_data(ws, skill)
    get_run_logger().info("%s: %d training conversations", skill, conversations)
    return conversations


@task(task_run_name="train {skill} expert", tags=["experts"], **RETRIED)
def train_expert(run: RunRef, skill: str) -> None:
    """Fine-tunes the expert of a skill."""
    with opened(run) as ws:
        summary = steps.train(ws, skill)
    get_run_logger().info(
        "%s expert: %d steps, loss %.3f -> %.3f, %d tokens in %.0f s (%.0f tokens/s)",
        skill,
        summary.steps,
        summary.loss_first,
        summary.loss_last,
        summary.tokens,
        summary.seconds,
        summary.tokens_per_second,
    )


@task(task_run_name="derive task vectors", tags=["experts"], **RETRIED)
def derive_experts(run: RunRef) -> list[str]:
    """Turns the experts into task vectors over shared bases; returns the individuals' ids."""
    with opened(run) as ws:
        return [record.id for record in steps.derive_experts(ws)]
