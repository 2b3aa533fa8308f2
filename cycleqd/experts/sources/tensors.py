"""The tensors of other people's files, in plain numbers: safetensors, pickles without code, FP8 with its scales."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open

from cycleqd.checkpoint import one_line
from cycleqd.experts.sources.protocol import SourceInvalid
from cycleqd.task_vector.rows import split

_PLAIN: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_FP8: Final = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
_SCALED_METHODS: Final = ("fp8", "fbgemm_fp8", "compressed-tensors", "modelopt")
"""Ways to quantise that may store 8-bit floats with scales beside them; what else they store is refused by type."""
_SCALES: Final = ("_scale_inv", "_scale")
"""What follows a weight's name in the name of its scale; both multiply."""
_BESIDE: Final = re.compile(r"\.(input_scale|output_scale|activation_scale|[kqv]_scale|input_scale_ub)$")
"""Scales of activations, which are no parameters."""
_BLOCK: Final = (128, 128)
_PACKED: Final = re.compile(r"\.(qweight|qzeros|scales|g_idx|SCB|absmax|quant_map|weight_packed|weight_shape)$")


class StoredTensors:
    """The tensors of a folder by name, read when they are asked for.

    Args:
        folder: Holds safetensors or PyTorch files, whole or in shards.
        stems: Names of the files without their endings, of which the first that is there is read: ``model``.
        config: The model's configuration, which says how it is quantised.

    Raises:
        SourceInvalid: There are no such files, or they are damaged, hold code, or are packed in a way that is not read
            here.
    """

    def __init__(self, folder: Path, stems: Sequence[str], config: Mapping[str, Any]) -> None:
        self.folder = folder
        quantisation = config.get("quantization_config") or {}
        method = str(quantisation.get("quant_method", "none"))
        if quantisation and method not in _SCALED_METHODS:
            raise SourceInvalid(
                f"expert source {folder}: its weights are quantised ({method}); merging packed numbers would be "
                "wrong: give the model as it was before, or dequantise and save it"
            )
        self._block = tuple(quantisation.get("weight_block_size") or _BLOCK)
        read: dict[str, Callable[[], torch.Tensor]] = {}
        for file in _files(folder, stems):
            read |= _open(file)
        self._read = read
        self._scale_of = {name: scale for name in read if (scale := self._scale(name)) is not None}
        scales = set(self._scale_of.values())
        self._names = tuple(sorted(name for name in read if name not in scales and not _BESIDE.search(name)))
        if packed := [name for name in self._names if _PACKED.search(name)]:
            raise SourceInvalid(
                f"expert source {folder}: {packed[0]} is a packed, quantised weight ({len(packed)} such): give the "
                "model as it was before, or dequantise and save it"
            )

    def names(self) -> tuple[str, ...]:
        """The tensors' names, sorted, without scales."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(self._raw(name).shape)

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor in fp32, multiplied by its scales where it is stored with some.

        Raises:
            SourceInvalid: It is stored in a type that has no plain reading, or as FP8 without a scale.
        """
        raw = self._raw(name)
        if raw.dtype in _PLAIN:
            return raw.float()
        if raw.dtype not in _FP8:
            raise SourceInvalid(
                f"expert source {self.folder}: {name} is stored as {str(raw.dtype).removeprefix('torch.')}: it is "
                "quantised in a way that is not read here; give the model as it was before"
            )
        if name not in self._scale_of:
            module = name.rpartition(".")[0]
            beside = [one for one in self._read if one.startswith(f"{module}.") and "scale" in one[len(module) :]]
            found = f"only {sorted(beside)[0]}, which may multiply or divide" if beside else "no scale"
            raise SourceInvalid(
                f"expert source {self.folder}: {name} is stored in 8 bits and has {found} beside it, so its values "
                f"are not known; give the model in bf16, or scales that multiply as {name}_scale"
            )
        return raw.float() * self._expanded(name, self._raw(self._scale_of[name]).float(), raw.shape)

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The tensor's consecutive rows in fp32, at most `rows` at a time; raises as `tensor`.

        What is stored with scales is read whole: they may be of blocks.
        """
        raw = self._raw(name)
        whole = raw if raw.dtype in _PLAIN else self.tensor(name)
        return (block.float() for block in split(whole, rows))

    @property
    def scaled(self) -> int:
        """How many tensors are stored in 8 bits with scales."""
        return len(self._scale_of)

    def check_types(self) -> None:
        """Makes sure that every tensor can be read; raises as `tensor`."""
        for name in self._names:
            raw = self._raw(name)
            if raw.dtype not in _PLAIN:
                self.tensor(name)

    def check_values(self) -> None:
        """Makes sure that every number is finite.

        Raises:
            SourceInvalid: One is not.
        """
        for name in self._names:
            tensor = self.tensor(name)
            # The least and the largest value need no second tensor, and NaN comes through.
            if tensor.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
                raise SourceInvalid(f"expert source {self.folder}: {name} holds NaN or infinite values")

    def _raw(self, name: str) -> torch.Tensor:
        return self._read[name]()

    def _scale(self, name: str) -> str | None:
        found = next((f"{name}{end}" for end in _SCALES if f"{name}{end}" in self._read), None)
        return found if found and self._raw(name).dtype in _FP8 else None

    def _expanded(self, name: str, scale: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """The scale in a shape that multiplies the tensor: one number, one a row, or one a block."""
        if scale.numel() == 1:
            return scale.reshape(())
        if tuple(scale.shape) == (shape[0],):
            return scale.reshape(-1, *([1] * (len(shape) - 1)))
        if scale.ndim == len(shape) and all(have in (1, want) for have, want in zip(scale.shape, shape, strict=True)):
            return scale
        blocks = (*shape[:-2], *(math.ceil(size / block) for size, block in zip(shape[-2:], self._block, strict=True)))
        if tuple(scale.shape) != blocks:
            raise SourceInvalid(
                f"expert source {self.folder}: {name} has shape {tuple(shape)} and scales of shape "
                f"{tuple(scale.shape)}, neither one a row nor one a block of {self._block[0]} x {self._block[1]}"
            )
        for dimension, block in zip((-2, -1), self._block, strict=True):
            scale = scale.repeat_interleave(int(block), dim=dimension)
        return scale[..., : shape[-2], : shape[-1]]


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a source's file.

    Raises:
        SourceInvalid: It is missing, or is none.
    """
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceInvalid(f"expert source {file.parent}: {file.name} cannot be read ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise SourceInvalid(f"expert source {file.parent}: {file.name} holds no JSON object")
    return content


def _files(folder: Path, stems: Sequence[str]) -> list[Path]:
    wanted = []
    for stem, ending in ((stem, ending) for ending in (".safetensors", ".bin") for stem in stems):
        if (folder / f"{stem}{ending}").is_file():
            return [folder / f"{stem}{ending}"]
        index = folder / f"{stem}{ending}.index.json"
        wanted.append(f"{stem}{ending}")
        if not index.is_file():
            continue
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise SourceInvalid(f"expert source {folder}: {index.name} has no weight_map of file names")
        names = sorted(set(weight_map.values()))
        if odd := [name for name in names if "/" in name or not name.endswith(ending)]:
            raise SourceInvalid(f"expert source {folder}: {index.name} names {odd[0]!r:.80}, no file of this folder")
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise SourceInvalid(f"expert source {folder}: {index.name} names a missing file: {missing[0]}")
        return [folder / name for name in names]
    raise SourceInvalid(f"expert source {folder}: it has none of {', '.join(wanted)}")


def _open(file: Path) -> dict[str, Callable[[], torch.Tensor]]:
    """How to read each tensor of a file. A pickle is loaded as numbers alone; code in it is refused, never run."""
    where = f"expert source {file.parent}: {file.name}"
    if file.suffix == ".safetensors":
        try:
            handle: Any = safe_open(file, framework="pt")
            return {name: _reader(handle, name) for name in list(handle.keys())}
        except Exception as error:  # safetensors' own class, which derives from Exception alone
            raise SourceInvalid(f"{where} is damaged or was not fetched whole ({one_line(error)})") from None
    try:
        # Only files of the newer kind, which are archives, can be mapped; the others are read whole.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # pickle and torch raise all classes over what is in a file
        raise SourceInvalid(
            f"{where} cannot be read as plain tensors ({one_line(error, longest=120)}); it may hold code, which is "
            "never run: save the model as safetensors"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise SourceInvalid(f"{where} holds something else than named tensors")
    return {str(name): _constant(tensor.detach()) for name, tensor in content.items()}


def _reader(handle: Any, name: str) -> Callable[[], torch.Tensor]:
    return lambda: handle.get_tensor(name)


def _constant(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor
