"""Training with transformers' Trainer, in processes of its own.

There is a process for every device. All of them see one folder (`cycleqd.experts.trainers.assignment`), and what they
tell there is told on here. Between several, Trainer wraps the model in DDP, or in what the user's accelerate
configuration says (FSDP, DeepSpeed).
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cycleqd.experts.conversations import Conversation
from cycleqd.experts.lessons import Lessons, lessons_of
from cycleqd.experts.progress import ProgressCallback, TrainingProgress, default_progress
from cycleqd.experts.resuming import Place
from cycleqd.experts.settings import TrainingSettings
from cycleqd.experts.summary import TrainingStopped, TrainingSummary, summary_of
from cycleqd.experts.trainers.assignment import (
    EXPERT,
    PROGRESS,
    STOP,
    Assignment,
    best_folder,
    cost_of,
    passes_of,
)
from cycleqd.experts.trainers.keeping import Archive, Told
from cycleqd.experts.trainers.launching import Processes
from cycleqd.experts.trainers.protocol import TrainingFailed
from cycleqd.machine.owner import temporary_folder

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight

STOP_SECONDS: Final = 20.0
"""For the step that is being computed when a training is to stop; then its processes are killed."""
_LOOK_SECONDS: Final = 0.1

log = logging.getLogger(__name__)


class TransformersTrainer:
    """Processes that train with transformers' Trainer.

    Args:
        processes: How many share each global batch, at least 1; one a GPU, where there are any.
        accelerate_config: File that `accelerate launch` starts them by, as `accelerate config` writes it.
        gradient_checkpointing: Whether activations are computed again in the backward pass instead of kept.
        save_steps: Optimizer steps from one checkpoint to the next, at least 1; None goes by time.
    """

    STATE: ClassVar[str] = "training.tar"
    SEES: ClassVar[bool] = False

    def __init__(
        self,
        *,
        processes: int = 1,
        accelerate_config: str | None = None,
        gradient_checkpointing: bool = False,
        save_steps: int | None = None,
    ) -> None:
        self._processes = processes
        self._config = Path(accelerate_config).expanduser().absolute() if accelerate_config else None
        self._gradient_checkpointing = gradient_checkpointing
        self._save_steps = save_steps

    def train(
        self,
        base: Path,
        conversations: Sequence[Conversation],
        out: Path,
        settings: TrainingSettings,
        *,
        sight: Sight | None = None,
        progress: ProgressCallback | None = None,
        stop: threading.Event | None = None,
        place: Place | None = None,
    ) -> TrainingSummary:
        """See `cycleqd.experts.trainers.Trainer.train`."""
        lessons = lessons_of(base, conversations, settings)  # which refuses images
        folder = temporary_folder()
        try:
            with ExitStack() as stack:
                report = progress or stack.enter_context(default_progress())
                return self._train(base.absolute(), lessons, out, settings, folder, report, stop, place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(
        self,
        base: Path,
        lessons: Lessons,
        out: Path,
        settings: TrainingSettings,
        folder: Path,
        report: ProgressCallback,
        stop: threading.Event | None,
        place: Place | None,
    ) -> TrainingSummary:
        archive = Archive(place, settings.plain() | {"conversations": lessons.data_hash}, folder)
        told, checkpoint = archive.restore()
        passes = passes_of(settings, lessons.padding, self._processes)
        most, tokens, positions = cost_of(lessons.order, [len(row.input_ids) for row in lessons.rows], passes)
        Assignment(
            base=str(base),
            settings=settings,
            padding=lessons.padding,
            epoch_steps=lessons.epoch_steps,
            processes=self._processes,
            passes=-(-most // self._processes),
            gradient_checkpointing=self._gradient_checkpointing,
            save_steps=self._save_steps,
            checkpoint=str(checkpoint) if checkpoint else None,
            best_loss=told.best_loss,
            seconds=told.seconds,
        ).write(folder, lessons.rows, lessons.held_out, lessons.order)
        if stop and stop.is_set():
            raise TrainingStopped("the run is being stopped")
        shown = list(accumulate(tokens))
        with Processes(folder, self._processes, self._config) as processes:
            for line in _lines(folder / PROGRESS, processes, stop, folder / STOP):
                if "step" in line:
                    told.losses.append(line["loss"])
                    told = told._replace(seconds=line["seconds"])
                    step, seconds = line["step"], line["seconds"]
                    report(TrainingProgress(step, len(lessons.order), line["loss"], shown[step - 1] / seconds))
                elif "examined" in line:
                    told = _examined(told, line, folder)
                elif "checkpoint" in line:
                    archive.keep(line["checkpoint"], told)
                elif "fault" in line:
                    raise RuntimeError(line["fault"])
                elif "stopped" in line:
                    raise TrainingStopped("the run is being stopped")
                elif "done" in line:  # they are not waited for: libraries take seconds to take their leave
                    break
        made = folder / (EXPERT if told.best_step is None else best_folder(told.best_step))
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(made.iterdir()):
            shutil.move(file, out / file.name)
        return summary_of(
            told.losses,
            conversations=lessons.conversations,
            left_out=lessons.left_out,
            tokens=shown[-1],
            positions=sum(positions),
            seconds=told.seconds,
            data_hash=lessons.data_hash,
            validation_loss=told.best_loss,
            validation_losses=told.examined,
        )


def _examined(told: Told, line: dict[str, Any], folder: Path) -> Told:
    told.examined.append((line["examined"], line["loss"]))
    if not line["best"]:
        return told
    if told.best_step is not None:
        shutil.rmtree(folder / best_folder(told.best_step), ignore_errors=True)
    return told._replace(best_step=line["examined"], best_loss=line["exact"])


def _lines(file: Path, processes: Processes, stop: threading.Event | None, asked: Path) -> Iterator[dict[str, Any]]:
    """What the processes tell; the last is that they are done, were stopped, or met a fault.

    Args:
        file: Where they tell it.
        processes: Whose it is.
        stop: When set, they are asked to end, and not waited for longer than `STOP_SECONDS`.
        asked: The file that asks them.

    Raises:
        TrainingStopped: They did not stop in time.
        TrainingFailed: They ended without having told that.
    """
    read, deadline = 0, None
    while True:
        status = processes.status  # before the last look
        text = _from(file, read)
        whole = text[: text.rfind(b"\n") + 1]
        read += len(whole)
        yield from map(json.loads, whole.splitlines())
        if status is not None:
            raise TrainingFailed(f"training ended with status {status}: {processes.said() or 'it said nothing'}")
        if stop and stop.is_set() and deadline is None:
            asked.touch()
            deadline = time.monotonic() + STOP_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            raise TrainingStopped(f"the run is being stopped; a step of more than {STOP_SECONDS:.0f} s was given up")
        time.sleep(_LOOK_SECONDS)


def _from(file: Path, place: int) -> bytes:
    if not file.exists():
        return b""
    with file.open("rb") as opened:
        opened.seek(place)
        return opened.read()
