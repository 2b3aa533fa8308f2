"""Whether the last step's training fits into this machine, when the engine is gone and before anything is started."""

from __future__ import annotations

import shutil
import tempfile
from math import prod
from typing import Final, NamedTuple

import psutil

from cycleqd.base_model import BaseWeights
from cycleqd.config import RunConfig
from cycleqd.models.hardware import with_dtype
from cycleqd.preflight.memory import is_of_tokens

_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}
_TRAINED: Final = 16
"""Bytes of a trained number: itself, its gradient, and AdamW's two moments, all in fp32."""


class Room(NamedTuple):
    """What a refinement needs at least, in bytes.

    Attributes:
        memory: Of the GPU, or without one of the machine: weights, adapters and their optimizer. What a batch takes on
            top depends on its length, and is not in it.
        disk: In the folder of temporary files, for the model that is trained on.
    """

    memory: int
    disk: int


def room_for_refinement(config: RunConfig, weights: BaseWeights) -> Room:
    """What the refinement of a run needs.

    Args:
        config: The run's settings.
        weights: The base model.
    """
    dtype = with_dtype(config).model.dtype
    shapes = weights.shapes()
    numbers = sum(prod(shape) for shape in shapes.values())
    adapted = sum(
        config.experts.rank * sum(shape)
        for name, shape in shapes.items()
        if len(shape) == 2 and not is_of_tokens(name)
    )
    # Only a frozen base in bf16 is kept as it is (`train_expert`).
    frozen = 2 if dtype == "bfloat16" else 4
    return Room(memory=numbers * frozen + adapted * _TRAINED, disk=numbers * _BYTES[dtype])


def lacking_room(room: Room) -> str:
    """What is to be said where a refinement can't fit; empty where it might."""
    import torch

    lacking = []
    if torch.cuda.is_available():
        free, where = torch.cuda.get_device_properties(0).total_memory, "the GPU has"
    else:
        free, where = psutil.virtual_memory().available, "free memory is"
    if room.memory > free:
        lacking.append(f"{_gib(room.memory)} for weights, adapters and their optimizer, and {where} {_gib(free)}")
    folder = tempfile.gettempdir()
    if room.disk > (free := shutil.disk_usage(folder).free):
        lacking.append(f"{_gib(room.disk)} for a copy of the model in {folder}, where {_gib(free)} are free")
    return f"refinement needs at least {'; '.join(lacking)}" if lacking else ""


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
