"""Safetensors files, written one tensor at a time and with reproducible bytes.

The format (https://huggingface.co/docs/safetensors): 8 bytes of little-endian header length, a JSON header padded
with spaces to a multiple of 8, then the tensors. The library's own writer wants all tensors in memory at once and
orders metadata at random, so writing is done here; reading is the library's, memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open

_METADATA_KEY = "cycleqd"


def write_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensor: Callable[[str], torch.Tensor],
    metadata: Mapping[str, Any],
) -> None:
    """Writes fp32 tensors sorted by name, holding one at a time; the file appears complete or not at all.

    Args:
        path: The file; its parent exists.
        shapes: Names and shapes of all tensors.
        tensor: Gives the tensor of a name.
        metadata: JSON-able facts for `TensorFile.metadata`.

    Raises:
        ValueError: A tensor is not fp32 or not of the shape announced.
    """
    names = sorted(shapes)
    header: dict[str, Any] = {"__metadata__": {_METADATA_KEY: json.dumps(metadata, sort_keys=True)}}
    offset = 0
    for name in names:
        size = 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in names:
            value = tensor(name)
            if value.dtype != torch.float32 or tuple(value.shape) != tuple(shapes[name]):
                raise ValueError(f"{name}: expected float32 {shapes[name]}, got {value.dtype} {tuple(value.shape)}")
            file.write(value.contiguous().numpy().data)
    os.replace(partial, path)


class TensorFile:
    """A memory-mapped safetensors file; a `TensorSource`.

    Attributes:
        metadata: What `write_tensors` was given; empty for files of others.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        # Its stubs are half typed.
        self._file = cast(Any, safe_open(str(path), framework="pt"))
        self._names = tuple(sorted(self._file.keys()))
        self.metadata: dict[str, Any] = json.loads((self._file.metadata() or {}).get(_METADATA_KEY, "{}"))

    def names(self) -> tuple[str, ...]:
        """The tensors' names, sorted."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, from the header."""
        return tuple(self._file.get_slice(name).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor in the file's dtype."""
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor


class ContentHash:
    """SHA-256 over named tensors, fed one at a time in sorted order.

    Args:
        header: Facts that belong to the content besides the tensors.
    """

    def __init__(self, header: str) -> None:
        self._digest = hashlib.sha256(header.encode())

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Takes in one fp32 tensor with its name and shape."""
        self._digest.update(json.dumps([name, list(tensor.shape)]).encode())
        self._digest.update(tensor.contiguous().numpy().data)

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        return self._digest.hexdigest()
