"""What is trained on, encoded and in its order: the same for every trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cycleqd.experts.conversations import (
    IGNORED,
    Batch,
    Conversation,
    Encoded,
    collate,
    content_hash,
    encode_all,
    schedule,
)
from cycleqd.experts.packing import collate_packed, pack
from cycleqd.experts.settings import TrainingSettings
from cycleqd.models.causal_lm.rendering import end_tokens, load_tokenizer
from cycleqd.models.side_by_side import GATE


class Lessons(NamedTuple):
    """Encoded conversations, and which of them each optimizer step takes.

    Attributes:
        rows: What is trained on.
        held_out: What the validation loss is measured on.
        order: Of every step the numbers of its `rows`, of ascending length, so that micro batches are of alike ones.
        epoch_steps: Steps of an epoch, after each of which the validation loss is measured.
        left_out: Conversations left out because they are too long.
        padding: The token that fills rows up.
        data_hash: Content hash of the conversations.
        tokenizer: The base's.
    """

    rows: list[Encoded]
    held_out: list[Encoded]
    order: list[list[int]]
    epoch_steps: int
    left_out: int
    padding: int
    data_hash: str
    tokenizer: Any

    @property
    def conversations(self) -> int:
        """Conversations in all steps, each epoch counted once."""
        return sum(map(len, self.order))


def lessons_of(
    base: Path, conversations: Sequence[Conversation], settings: TrainingSettings, *, image_tokens: int | None = None
) -> Lessons:
    """Encodes conversations, holds some out, and deals the others out.

    Args:
        base: The base's checkpoint directory.
        conversations: Each with at least one assistant turn.
        settings: The training's.
        image_tokens: Tokens that an image takes; None where none can be shown.

    Raises:
        ValueError: Nothing to train on (no conversations, all too long), or images that cannot be shown.
    """
    with GATE.building():
        tokenizer = load_tokenizer(base)
    ends = end_tokens(tokenizer, base)
    data = encode_all(
        tokenizer, conversations, ends, settings.max_length, date=settings.date, image_tokens=image_tokens
    )
    generator = torch.Generator().manual_seed(settings.seed)
    rows, held_out = _split(data.rows, settings.validation_fraction, generator)
    total = max(1, round(settings.epochs * len(rows)))
    order = list(schedule([len(row.input_ids) for row in rows], total, settings.global_batch, generator))
    return Lessons(
        rows=rows,
        held_out=held_out,
        order=order,
        epoch_steps=math.ceil(len(rows) / settings.global_batch),
        left_out=data.left_out,
        padding=ends[0],
        data_hash=content_hash(conversations),
        tokenizer=tokenizer,
    )


def _split(
    rows: Sequence[Encoded], fraction: float, generator: torch.Generator
) -> tuple[list[Encoded], list[Encoded]]:
    if not fraction:
        return list(rows), []
    if len(rows) < 2:
        raise ValueError("validation needs at least two conversations, one of them to train on")
    order = torch.randperm(len(rows), generator=generator).tolist()
    held_out = max(1, round(fraction * len(rows)))
    return [rows[index] for index in order[held_out:]], [rows[index] for index in order[:held_out]]


class Passes:
    """Cuts a global batch into forward passes.

    Args:
        rows: How many rows a pass has, at most.
        capacity: A packed row's tokens; None pads.
        padding: The token that fills rows up.
        processes: How many processes share a global batch: none is to wait for another's only pass.
    """

    def __init__(self, rows: int, capacity: int | None, padding: int, processes: int = 1) -> None:
        self._rows = rows
        self._capacity = capacity
        self._padding = padding
        self._processes = processes

    def cut(self, lengths: Sequence[int]) -> list[list[list[int]]]:
        """The numbers of a global batch's conversations, by pass and row.

        Args:
            lengths: Tokens of each conversation.
        """
        if self._capacity is None:
            packs = [[number] for number in range(len(lengths))]
        else:
            packs = pack(lengths, self._capacity)
        most = min(self._rows, math.ceil(len(packs) / self._processes))
        return [packs[first : first + most] for first in range(0, len(packs), most)]

    def batch(self, conversations: Sequence[Encoded], one: Sequence[Sequence[int]]) -> Batch:
        """The tensors of a pass.

        Args:
            conversations: The global batch.
            one: The numbers of its conversations in each row of the pass.
        """
        if self._capacity is None:
            return collate([conversations[number] for row in one for number in row], self._padding)
        return collate_packed([[conversations[number] for number in row] for row in one], self._padding)


def targets(row: Encoded) -> int:
    """How many of a row's tokens are learned; the first has nothing before it to be predicted from."""
    return sum(label != IGNORED for label in row.labels[1:])


def examined(rows: Sequence[Encoded], micro_batch: int, padding: int) -> list[Batch]:
    """The batches in which held-out rows are examined: of alike lengths, never packed."""
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    return [collate(ordered[first : first + micro_batch], padding) for first in range(0, len(ordered), micro_batch)]
