"""What all trainings of a run have in common: the settings of `RunConfig.experts`, and where their state is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cycleqd.randomness import rng
from cycleqd.run.names import TRAINING, expert_key
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import ObjectCorrupt

log = logging.getLogger(__name__)


def common_settings(ws: Workspace, name: str, progress: Callable[..., None] | None, draw: int = 0) -> dict[str, Any]:
    """Keyword arguments of every training.

    Args:
        ws: The run.
        name: Whose training it is: a skill, or another name under `expert_key`.
        progress: Called after each step.
        draw: Tells trainings of one name apart; each has a seed of its own.
    """
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
        "progress": progress,
        "stop": ws.evaluator.stop,
    }


def conversation_settings(ws: Workspace, name: str) -> dict[str, Any]:
    """Keyword arguments of trainings on conversations; arguments as for `common_settings`."""
    return {
        "packing": ws.config.experts.packing,
        "dtype": ws.config.model.dtype,
        "date": ws.config.model.date,
        "place": _State(ws.store, expert_key(name, TRAINING)),
        "sight": ws.evaluator.sight,
    }


class _State:
    """Where the state of a training lies in its run; see `cycleqd.experts.resuming.Place`."""

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
