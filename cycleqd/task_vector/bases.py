"""The orthonormal bases that all LoRA-born task vectors of a run share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from cycleqd.task_vector.files import ContentHash, TensorFile, write_tensors


class LoraFactors(NamedTuple):
    """One LoRA update scale · B A of a matrix (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    Attributes:
        a: Shape (r, n).
        b: Shape (m, r).
        scale: lora_alpha / r, or whatever the trainer multiplied by.
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float


class SharedBases:
    """Orthonormal P (m × R_P) and Q (n × R_Q) per matrix: every task vector of the run is P C Qᵀ.

    They span the columns and the rows of all experts' updates, so merges and SVD mutations never leave them.
    Each side is limited by its own dimension, R_P ≤ min(m, Σ r) and R_Q ≤ min(n, Σ r), so cores need not be square.

    Args:
        left: P per parameter name, fp32.
        right: Q per parameter name, fp32.

    Raises:
        ValueError: The names of the two sides differ.
    """

    def __init__(self, left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> None:
        if left.keys() != right.keys():
            raise ValueError(f"left and right bases differ in their names: {sorted(left.keys() ^ right.keys())}")
        self._left = {name: left[name].contiguous() for name in sorted(left)}
        self._right = {name: right[name].contiguous() for name in sorted(right)}
        self._hash: str | None = None

    def names(self) -> tuple[str, ...]:
        """The matrices, sorted."""
        return tuple(self._left)

    def left(self, name: str) -> torch.Tensor:
        """P, shape (m, R_P), fp32."""
        return self._left[name]

    def right(self, name: str) -> torch.Tensor:
        """Q, shape (n, R_Q), fp32."""
        return self._right[name]

    def shape(self, name: str) -> tuple[int, int]:
        """The matrix' own shape (m, n)."""
        return self._left[name].shape[0], self._right[name].shape[0]

    def core_shape(self, name: str) -> tuple[int, int]:
        """The shape (R_P, R_Q) of the matrix' core."""
        return self._left[name].shape[1], self._right[name].shape[1]

    def hash(self) -> str:
        """SHA-256 of the content, hexadecimal; computed once."""
        if self._hash is None:
            content = ContentHash("bases")
            for name in self.names():
                content.add(name, self._left[name])
                content.add(name, self._right[name])
            self._hash = content.hexdigest()
        return self._hash

    def save(self, path: Path) -> None:
        """Writes a safetensors file, atomically."""
        tensors = {f"left.{name}": tensor for name, tensor in self._left.items()}
        tensors |= {f"right.{name}": tensor for name, tensor in self._right.items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        write_tensors(path, shapes, tensors.__getitem__, {"form": "bases"})

    @classmethod
    def load(cls, path: Path) -> SharedBases:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else.
        """
        file = TensorFile(path)
        if file.metadata.get("form") != "bases":
            raise ValueError(f"{path} holds {file.metadata.get('form', 'a foreign file')!r}, expected 'bases'")
        sides: dict[str, dict[str, torch.Tensor]] = {"left": {}, "right": {}}
        for key in file.names():
            side, _, name = key.partition(".")
            sides[side][name] = file.tensor(key)
        return cls(sides["left"], sides["right"])


def orthonormal_columns(blocks: list[torch.Tensor]) -> torch.Tensor:
    """An orthonormal basis, shape (rows, min(rows, Σ columns)), whose span holds every column of the blocks.

    Householder QR gives orthonormal columns also where the stack is rank-deficient; its surplus directions merely
    stay unused.

    Args:
        blocks: Matrices of the same number of rows, fp64.

    Returns:
        The basis, fp64.
    """
    q: torch.Tensor = torch.linalg.qr(torch.cat(blocks, dim=1))[0]
    return q
