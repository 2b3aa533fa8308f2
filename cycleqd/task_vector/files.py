"""Safetensors files, written block by block and with reproducible bytes.

The format (https://huggingface.co/docs/safetensors): 8 bytes of little-endian header length, a JSON header padded
with spaces to a multiple of 8, then the tensors. The library's own writer wants all tensors in memory at once and
orders metadata at random, so writing is done here; reading is the library's, memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import safe_open

from cycleqd.task_vector.rows import split

_METADATA_KEY = "cycleqd"
_DTYPES: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


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

    def whole(name: str) -> Iterator[torch.Tensor]:
        value = tensor(name)
        if tuple(value.shape) != tuple(shapes[name]):
            raise ValueError(f"{name}: expected float32 {shapes[name]}, got {value.dtype} {tuple(value.shape)}")
        yield value

    write_blocks(path, shapes, whole, metadata)


def write_blocks(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    blocks: Callable[[str], Iterable[torch.Tensor]],
    metadata: Mapping[str, Any],
) -> None:
    """As `write_tensors`, holding one block of a tensor at a time.

    Args:
        path: The file; its parent exists.
        shapes: Names and shapes of all tensors.
        blocks: Gives the consecutive rows of the tensor of a name.
        metadata: JSON-able facts for `TensorFile.metadata`.

    Raises:
        ValueError: A block is not fp32, or the blocks of a tensor don't fill its shape.
    """
    facts = {_METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    encoded = json.dumps(_header(shapes, torch.float32, facts)).encode()
    partial = path.with_name(f"{path.name}.partial")
    _write(partial, encoded, sorted(shapes), shapes, torch.float32, blocks)
    os.replace(partial, path)


def write_shard(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    blocks: Callable[[str], Iterable[torch.Tensor]],
) -> None:
    """Writes tensors of one dtype with the bytes of ``safetensors.torch.save_file``, one block at a time.

    Args:
        path: The file; its parent exists.
        shapes: Names and shapes of all tensors.
        dtype: fp32, fp16 or bf16.
        blocks: Gives the consecutive rows of the tensor of a name.

    Raises:
        ValueError: As `write_blocks`.
    """
    header = _header(shapes, dtype, {"format": "pt"})
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    _write(path, encoded, sorted(shapes), shapes, dtype, blocks)


def _header(
    shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, facts: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    header: dict[str, dict[str, Any]] = {"__metadata__": dict(facts)}
    offset = 0
    for name in sorted(shapes):
        size = dtype.itemsize * math.prod(shapes[name])
        header[name] = {"dtype": _DTYPES[dtype], "shape": list(shapes[name]), "data_offsets": [offset, offset + size]}
        offset += size
    return header


def _write(
    path: Path,
    header: bytes,
    names: Iterable[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    blocks: Callable[[str], Iterable[torch.Tensor]],
) -> None:
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in names:
            left = math.prod(shapes[name])
            for block in blocks(name):
                left -= block.numel()
                if block.dtype != dtype or block.shape[1:] != torch.Size(shapes[name][1:]) or left < 0:
                    raise ValueError(
                        f"{name}: expected {dtype} {shapes[name]}, got a block {block.dtype} {tuple(block.shape)}"
                    )
                file.write(as_bytes(block))
            if left:
                raise ValueError(f"{name}: {left} numbers are missing of {dtype} {shapes[name]}")


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """A tensor's numbers in memory, row by row; a copy only where it is not contiguous."""
    if not tensor.numel():
        return memoryview(b"")
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


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

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The tensor's consecutive rows in the file's dtype, at most `rows` at a time."""
        return split(self.tensor(name), rows)


class ContentHash:
    """SHA-256 over named tensors, fed one at a time in sorted order.

    Args:
        header: Facts that belong to the content besides the tensors.
    """

    def __init__(self, header: str) -> None:
        self._digest = hashlib.sha256(header.encode())

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Takes in one fp32 tensor with its name and shape."""
        self.begin(name, tensor.shape)
        self.go_on(tensor)

    def begin(self, name: str, shape: Sequence[int]) -> None:
        """Takes in the name and the shape of a tensor whose blocks follow."""
        self._digest.update(json.dumps([name, list(shape)]).encode())

    def go_on(self, block: torch.Tensor) -> None:
        """Takes in the next rows of the tensor that was begun, fp32."""
        self._digest.update(as_bytes(block))

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        return self._digest.hexdigest()
