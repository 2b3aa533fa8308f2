"""What all trainings of a run have in common: trainer, settings of `RunConfig.experts`, and where states are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cycleqd.experts import Conversation, TrainingSettings, TrainingSummary
from cycleqd.experts.resuming import Place
from cycleqd.experts.trainers import Trainer
from cycleqd.randomness import rng
from cycleqd.run.names import TRAINING, expert_key
from cycleqd.run.store import RunStore
from cycleqd.seams import TRAINERS
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import ObjectCorrupt

log = logging.getLogger(__name__)


def fine_tune(
    ws: Workspace,
    name: str,
    base: Path,
    conversations: Sequence[Conversation],
    out: Path,
    *,
    progress: Callable[..., None] | None,
    draw: int = 0,
    **own: Any,
) -> TrainingSummary:
    """Fine-tunes a model on conversations with the run's trainer and settings.

    Args:
        ws: The run.
        name: Whose training it is: a skill, or another name under `expert_key`.
        base: The model's checkpoint directory.
        conversations: What it learns from.
        out: Directory for the expert.
        progress: Called after each step.
        draw: Tells trainings of one name apart; each has a seed of its own.
        own: Fields of `TrainingSettings` that not all trainings of the run have in common.
    """
    experts, model = ws.config.experts, ws.config.model
    trainer: Trainer = TRAINERS.make(experts.trainer.kind, **dict(experts.trainer))
    settings = TrainingSettings(
        packing=experts.packing, dtype=model.dtype, date=model.date, **shared_settings(ws, name, draw), **own
    )
    return trainer.train(
        base,
        conversations,
        out,
        settings,
        sight=ws.evaluator.sight,
        progress=progress,
        stop=ws.evaluator.stop,
        place=state_of(ws, name, trainer.STATE),
    )


def shared_settings(ws: Workspace, name: str, draw: int = 0) -> dict[str, Any]:
    """What trainings of language models and of models that segment have in common; arguments as for `fine_tune`."""
    settings = ws.config.experts
    return {
        "rank": settings.rank,
        "alpha": settings.alpha,
        "global_batch": settings.global_batch,
        "micro_batch": settings.micro_batch,
        "warmup_fraction": settings.warmup_fraction,
        "max_grad_norm": settings.max_grad_norm,
        "weight_decay": settings.weight_decay,
        "seed": int(rng(ws.config.seed, draw, f"train {name}").integers(2**31)),
    }


def state_of(ws: Workspace, name: str, file: str) -> Place:
    """Where the state of a training lies in its run.

    Args:
        ws: The run.
        name: Whose training it is.
        file: One of `TRAINING`.
    """
    return _State(ws.store, expert_key(name, file))


def forget_state(ws: Workspace, name: str) -> None:
    """Removes where a training stood that is finished."""
    for state in TRAINING:
        ws.store.remove(expert_key(name, state))


class _State:
    """A `Place` in a run."""

    def __init__(self, store: RunStore, key: str) -> None:
        self._store = store
        self._key = key

    def read(self) -> Path | None:
        """The state; a damaged one is told and not used."""
        try:
            return self._store.local(self._key) if self._store.exists(self._key) else None
        except ObjectCorrupt as damage:
            log.warning("run %s: the training starts anew: %s", self._store.run_id, damage)
            return None

    def write(self) -> AbstractContextManager[Path]:
        """A path whose file takes the place of the state."""
        return self._store.writing(self._key, replace=True)
