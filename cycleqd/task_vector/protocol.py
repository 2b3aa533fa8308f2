"""What every form of task vector offers to the operators, the engines and the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch

SpectralWeights = Callable[[str, int], torch.Tensor]
"""(parameter name, count) -> w, fp32 of shape (count,), w_i for the i-th largest singular value.

The first values must not depend on `count`: a dense matrix has more (zero) singular values than its core.
"""


class TensorSource(Protocol):
    """Named tensors that are read one at a time, e.g. a memory-mapped checkpoint."""

    def names(self) -> Sequence[str]:
        """The tensors' names, as in the base's safetensors files."""
        ...

    def shape(self, name: str) -> Sequence[int]:
        """The tensor's shape, without reading it."""
        ...

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor in its own dtype; the caller does not change it."""
        ...

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The tensor's consecutive rows, at most `rows` at a time; the caller does not change them."""
        ...


class TaskVector(Protocol):
    """Parameters minus the base's, immutable. Names that it lacks have a delta of zero."""

    def names(self) -> tuple[str, ...]:
        """The parameters it covers, sorted, named as in the base's safetensors files."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's shape.

        Raises:
            KeyError: The vector does not cover `name`.
        """
        ...

    def delta(self, name: str, device: torch.device | None = None) -> torch.Tensor:
        """The parameter's delta, fp32, of the parameter's shape.

        Args:
            name: The parameter.
            device: Where it is to lie; what can be, is computed there. Unless given, the CPU.

        Raises:
            KeyError: The vector does not cover `name`.
        """
        ...

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The same delta, bit for bit, in consecutive rows; the caller does not change them.

        A parameter of numbers that don't depend on each other is computed block by block, so that no more than a few
        blocks are in memory. Others are computed whole and cut.

        Args:
            name: The parameter.
            rows: Most rows of a block, at least 1.

        Raises:
            KeyError: The vector does not cover `name`.
        """
        ...

    def singular_values(self, name: str) -> torch.Tensor:
        """Singular values of a matrix' delta, fp32, descending; trailing zeros may be missing.

        Of a stack of matrices: shape (e, count), a row for each.
        """
        ...

    def combine(self, own: float, others: Sequence[tuple[float, TaskVector]]) -> TaskVector:
        """The linear combination own · self + Σ_i c_i τ_i.

        Args:
            own: Coefficient of this vector.
            others: Coefficients and vectors of the same parameters.

        Raises:
            ValueError: The vectors don't fit together.
        """
        ...

    def stretch(self, basis: TaskVector, weights: SpectralWeights) -> TaskVector:
        """Adds U diag(w ∘ σ) Vᵀ to every matrix, with U diag(σ) Vᵀ the SVD of the same matrix of `basis`.

        Slices of stacks are matrices (see `cycleqd.task_vector.matrices`). Matrices of `basis` of numerical rank 0 or
        1 (see `cycleqd.task_vector.spectrum`) add nothing; parameters that are not matrices pass through.

        Args:
            basis: The vector that is decomposed, which may be this one.
            weights: Draws w, called for each matrix.

        Raises:
            ValueError: `basis` does not fit, or can't be decomposed in this form.
        """
        ...

    def add_noise(self, seed: int, coefficient: float) -> TaskVector:
        """Adds coefficient · N to every matrix, N standard normal and fixed by (seed, parameter name)."""
        ...

    def hash(self) -> str:
        """SHA-256 of the content, hexadecimal. Equal content in different forms may hash differently."""
        ...

    def save(self, path: Path) -> None:
        """Writes a safetensors file, atomically; `load_task_vector` reads it back bit for bit."""
        ...
