"""What the processes of a training are told: a folder with a JSON file, and the encoded conversations beside it.

The folder is also where they answer: `PROGRESS` has a JSON line for everything that happened, written by the first
process, read by whoever started them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from cycleqd.experts.conversations import IGNORED, Batch, Encoded
from cycleqd.experts.lessons import Passes, targets
from cycleqd.experts.settings import TrainingSettings

SPECIFICATION: Final = "specification.json"
ROWS: Final = "rows.safetensors"
PROGRESS: Final = "progress.jsonl"
STOP: Final = "stop"
"""Exists when the processes are to end at their next step."""
CHECKPOINTS: Final = "checkpoints"
EXPERT: Final = "expert"
"""The expert, where no validation chose one; see `best_folder`."""


def best_folder(step: int) -> str:
    """The expert as it was after a step, where its validation loss was the lowest so far."""
    return f"best-{step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to train.

    Attributes:
        base: The base's checkpoint directory.
        settings: What decides what is learned.
        padding: The token that fills rows up.
        epoch_steps: Steps of an epoch, after each of which the validation loss is measured.
        processes: How many processes share a global batch.
        passes: Forward passes of each process for a global batch.
        gradient_checkpointing: Whether activations are computed again in the backward pass instead of kept.
        save_steps: Optimizer steps from one checkpoint to the next; None goes by time.
        checkpoint: Where to go on from; None begins.
        best_loss: The lowest validation loss so far.
        seconds: Wall-clock seconds so far.
    """

    base: str
    settings: TrainingSettings
    padding: int
    epoch_steps: int
    processes: int
    passes: int
    gradient_checkpointing: bool
    save_steps: int | None
    checkpoint: str | None = None
    best_loss: float | None = None
    seconds: float = 0.0

    def write(
        self, folder: Path, rows: Sequence[Encoded], held_out: Sequence[Encoded], order: list[list[int]]
    ) -> None:
        """Writes everything into a folder."""
        every = [*rows, *held_out]
        save_file(
            {
                "ids": torch.tensor([token for row in every for token in row.input_ids], dtype=torch.int32),
                "labels": torch.tensor([label for row in every for label in row.labels], dtype=torch.int32),
                "lengths": torch.tensor([len(row.input_ids) for row in every]),
                "order": torch.tensor([number for step in order for number in step]),
                "steps": torch.tensor([len(step) for step in order]),
                "trained": torch.tensor(len(rows)),
            },
            folder / ROWS,
        )
        (folder / SPECIFICATION).write_text(json.dumps(asdict(self) | {"settings": self.settings.plain()}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Assignment:
        """What `write` wrote; the rows are read by `Pieces.read`."""
        values = json.loads((folder / SPECIFICATION).read_text())
        return cls(**values | {"settings": TrainingSettings.of_plain(values["settings"])})


def passes_of(settings: TrainingSettings, padding: int, processes: int) -> Passes:
    """How a global batch is cut for so many processes."""
    capacity = settings.max_length if settings.packing else None
    return Passes(settings.micro_batch, capacity, padding, processes)


def cost_of(
    order: Sequence[Sequence[int]], lengths: Sequence[int], passes: Passes
) -> tuple[int, list[int], list[int]]:
    """What the steps take.

    Args:
        order: Of every step the numbers of its conversations.
        lengths: Tokens of each conversation.
        passes: How a global batch is cut.

    Returns:
        The most passes of a step; then of every step its tokens, and its positions with the padding.
    """
    most, tokens, positions = 0, [], []
    for step in order:
        sizes = [lengths[number] for number in step]
        cut = passes.cut(sizes)
        widths = [[sum(sizes[number] for number in row) for row in one] for one in cut]
        most = max(most, len(cut))
        tokens.append(sum(sizes))
        positions.append(sum(len(rows) * max(rows) for rows in widths))
    return most, tokens, positions


class Pieces(torch.utils.data.Dataset[dict[str, Any]]):
    """The forward passes of all steps, in the order in which accelerate deals them out.

    Process p of N gets the items p, p + N, p + 2N, ... A step has as many items for every process. Where it has fewer
    passes than that, the missing ones are empty and come first.

    Args:
        assignment: What to train.
        rows: What is trained on.
        held_out: What the validation loss is measured on.
        order: Of every step the numbers of its rows.
    """

    def __init__(
        self, assignment: Assignment, rows: Sequence[Encoded], held_out: Sequence[Encoded], order: list[list[int]]
    ) -> None:
        self.rows = rows
        self.held_out = held_out
        self.order = order
        self._assignment = assignment
        self._passes = passes_of(assignment.settings, assignment.padding, assignment.processes)

    @classmethod
    def read(cls, folder: Path, assignment: Assignment) -> Pieces:
        """The rows that `Assignment.write` wrote."""
        stored = load_file(folder / ROWS)
        ids, labels = (_cut(stored[name], stored["lengths"]) for name in ("ids", "labels"))
        every = [Encoded(*row) for row in zip(ids, labels, strict=True)]
        trained = int(stored["trained"])
        return cls(assignment, every[:trained], every[trained:], _cut(stored["order"], stored["steps"]))

    def __len__(self) -> int:
        return len(self.order) * self._assignment.passes * self._assignment.processes

    def __getitem__(self, item: int) -> dict[str, Any]:
        """A forward pass: its tensors, and the tokens to learn in its whole global batch."""
        processes = self._assignment.processes
        step, place = divmod(item, self._assignment.passes * processes)
        turn, process = divmod(place, processes)
        rows = [self.rows[number] for number in self.order[step]]
        own = self._passes.cut([len(row.input_ids) for row in rows])[process::processes]
        missing = self._assignment.passes - len(own)
        if turn < missing:
            return as_inputs(nothing(self._assignment.padding), math.inf) | {"empty": True}
        return as_inputs(self._passes.batch(rows, own[turn - missing]), sum(map(targets, rows)))


def as_inputs(batch: Batch, wanted: float) -> dict[str, Any]:
    """A batch as transformers' Trainer hands it on.

    Args:
        batch: The batch.
        wanted: What its summed loss is divided by.
    """
    places = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    # Not "labels": Trainer would count those of each process and add them up between all.
    return {"input_ids": batch.input_ids, "taught": batch.labels, "wanted": wanted, "empty": False, **places}


def nothing(padding: int) -> Batch:
    """A batch for a process that has none while others do; its loss is to be divided by infinity."""
    return Batch(torch.full((1, 2), padding), torch.tensor([[IGNORED, padding]]), 0)


def _cut(values: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    flat = values.tolist()
    return [flat[first:last] for first, last in pairwise(accumulate(lengths.tolist(), initial=0))]
