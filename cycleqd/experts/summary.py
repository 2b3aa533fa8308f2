"""What a training did, and how it ends early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TrainingStopped(RuntimeError):
    """The run was asked to stop; nothing was saved, and the training may be started again."""


class TrainingSummary(NamedTuple):
    """What a training run did.

    Attributes:
        steps: Optimizer steps.
        conversations: Conversations trained on, each epoch counted once.
        left_out: Conversations left out because they are too long.
        tokens: Tokens shown in all epochs, without padding.
        seconds: Wall-clock seconds of the training loop.
        tokens_per_second: `tokens` / `seconds`.
        loss_first: Loss of the first step, in nats a trained token.
        loss_last: Mean loss of the last tenth of the steps.
        validation_loss: Lowest validation loss, whose weights were kept; None without validation.
        data_hash: Content hash of the conversations that were given, in their order.
        padding: Share of the positions in all forward passes that held padding.
        losses: Loss of each step, in nats a trained token, to six digits; empty in summaries of older versions.
        validation_losses: Steps after which the validation loss was measured, each with the loss.
    """

    steps: int
    conversations: int
    left_out: int
    tokens: int
    seconds: float
    tokens_per_second: float
    loss_first: float
    loss_last: float
    validation_loss: float | None
    data_hash: str = ""
    padding: float = 0.0
    losses: Sequence[float] = ()
    validation_losses: Sequence[tuple[int, float]] = ()


def summary_of(
    losses: Sequence[float],
    *,
    conversations: int,
    left_out: int,
    tokens: int,
    positions: int,
    seconds: float,
    data_hash: str,
    validation_loss: float | None,
    validation_losses: Sequence[tuple[int, float]],
) -> TrainingSummary:
    """The summary of a training that is done.

    Args:
        losses: Loss of each step.
        positions: Positions in all forward passes, padding included.
        conversations: As in `TrainingSummary`, here and below.
        left_out: Likewise.
        tokens: Likewise.
        seconds: Likewise.
        data_hash: Likewise.
        validation_loss: Likewise.
        validation_losses: Likewise.
    """
    tail = losses[-max(1, len(losses) // 10) :]
    return TrainingSummary(
        steps=len(losses),
        conversations=conversations,
        left_out=left_out,
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        loss_first=losses[0],
        loss_last=sum(tail) / len(tail),
        validation_loss=validation_loss,
        data_hash=data_hash,
        padding=1 - tokens / positions,
        losses=[six_digits(loss) for loss in losses],
        validation_losses=validation_losses,
    )


def six_digits(loss: float) -> float:
    """Six digits: all of them would double the summary of a long training and show nobody more."""
    return float(f"{loss:.6g}")
