"""What training reports while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_log = logging.getLogger(__name__)


class TrainingProgress(NamedTuple):
    """State after an optimizer step.

    Attributes:
        step: Steps done, from 1.
        steps: Steps in all.
        loss: Mean cross entropy of the step's trained tokens, in nats.
        tokens_per_second: Tokens (without padding) a second since the start.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float


ProgressCallback = Callable[[TrainingProgress], None]


@contextmanager
def default_progress() -> Iterator[ProgressCallback]:
    """A bar on standard error where that is a terminal; elsewhere a log line every tenth of the way."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lines_of("training")
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", loss=float("nan"), rate=0.0)

        def show(state: TrainingProgress) -> None:
            bar.update(task, total=state.steps, completed=state.step, loss=state.loss, rate=state.tokens_per_second)

        yield show


def lines_of(name: str) -> ProgressCallback:
    """A log line every tenth of the way, for trainings that share a terminal.

    Args:
        name: Whose training it is.
    """

    def log(state: TrainingProgress) -> None:
        if state.step * 10 // state.steps != (state.step - 1) * 10 // state.steps:
            _log.info(
                "%s: step %d/%d: loss %.3f, %.0f tokens/s",
                name, state.step, state.steps, state.loss, state.tokens_per_second,
            )  # fmt: skip

    return log
