"""The state of a training in processes of its own, as one file: checkpoint, best expert so far, what was told."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from cycleqd.experts.resuming import Place
from cycleqd.experts.trainers.assignment import CHECKPOINTS, best_folder

_FACTS: Final = "state.json"

log = logging.getLogger(__name__)


class Told(NamedTuple):
    """What a training's processes have told so far.

    Attributes:
        losses: Loss of each step.
        examined: Steps after which the validation loss was measured, each with the loss to six digits.
        best_step: The one with the lowest; None before the first.
        best_loss: Its loss.
        seconds: Wall-clock seconds, all starts together.
    """

    losses: list[float]
    examined: list[tuple[int, float]]
    best_step: int | None = None
    best_loss: float | None = None
    seconds: float = 0.0


class Archive:
    """The kept state of one training.

    Args:
        place: Where it is kept; None keeps nothing.
        told: All that decides what is learned: a state of another training is not taken.
        folder: Where the training lies now.
    """

    def __init__(self, place: Place | None, told: Mapping[str, Any], folder: Path) -> None:
        self._place = place
        self._folder = folder
        text = json.dumps({**told, "torch": torch.__version__}, sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()

    def restore(self) -> tuple[Told, Path | None]:
        """Takes up what was kept, where it is of this training: what was told, and the checkpoint to go on from.

        Raises:
            ValueError: It cannot be read.
        """
        file = self._place.read() if self._place else None
        if file is None:
            return Told([], []), None
        try:
            with tarfile.open(file, "r:") as archive:
                facts = json.load(archive.extractfile(_FACTS))  # type: ignore[arg-type] # None raises, too
                if facts["key"] != self._key:
                    log.info("the state of an earlier training is of other settings, and not used")
                    return Told([], []), None
                archive.extractall(self._folder, filter="data")
            told = Told(**facts["told"])
        except (OSError, tarfile.TarError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"the kept state of a training cannot be read ({error}): remove {file}") from error
        log.info("training goes on after step %d", len(told.losses))
        examined = [(step, loss) for step, loss in told.examined]
        return told._replace(examined=examined), self._checkpoint(len(told.losses))

    def keep(self, step: int, told: Told) -> None:
        """Keeps the checkpoint of a step, and removes it from the folder."""
        checkpoint = self._checkpoint(step)
        if self._place is not None:
            facts = self._folder / _FACTS
            facts.write_text(json.dumps({"key": self._key, "told": told._asdict()}))
            parts = [_FACTS, f"{CHECKPOINTS}/{checkpoint.name}"]
            parts += [best_folder(told.best_step)] if told.best_step is not None else []
            with self._place.write() as path, tarfile.open(path, "w") as archive:
                for part in parts:
                    archive.add(self._folder / part, part)
        shutil.rmtree(checkpoint, ignore_errors=True)

    def _checkpoint(self, step: int) -> Path:
        return self._folder / CHECKPOINTS / f"checkpoint-{step}"
