"""Task vectors of fully fine-tuned experts and their descendants: numbers on the experts' own singular vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from cycleqd.task_vector.dense import DenseTaskVector
from cycleqd.task_vector.factored import Noise, merged_noise
from cycleqd.task_vector.files import ContentHash, TensorFile, write_tensors
from cycleqd.task_vector.matrices import is_stack
from cycleqd.task_vector.protocol import SpectralWeights, TaskVector
from cycleqd.task_vector.rows import split
from cycleqd.task_vector.spectrum import singular_values, standard_noise, stretches

_FINE: Final = 2**22
"""Matrices of up to so many numbers are decomposed in fp64."""


def write_decomposition(path: Path, changes: Sequence[torch.Tensor], device: torch.device | None = None) -> None:
    """Decomposes every expert's change of one parameter and writes U, σ and Vᵀ; a vector is written as it is.

    Args:
        path: The file; its parent exists.
        changes: Of each expert, fp32, all of one shape, which is no stack of matrices.
        device: Where matrices are decomposed; unless given, where they lie.

    Raises:
        ValueError: It is a stack of matrices.
    """
    if is_stack(changes[0].shape):
        raise ValueError(f"stacks of matrices {tuple(changes[0].shape)} have no spectral form")
    tensors: dict[str, torch.Tensor] = {}
    for number, change in enumerate(changes):
        if change.ndim != 2:
            tensors[f"delta.{number}"] = change
            continue
        matrix = change if device is None else change.to(device)
        u, sigma, vh = torch.linalg.svd(matrix.double() if matrix.numel() <= _FINE else matrix, full_matrices=False)
        parts = {"u": u, "sigma": sigma, "vh": vh}
        tensors |= {f"{part}.{number}": tensor.float().cpu().contiguous() for part, tensor in parts.items()}
    content = ContentHash("decomposition")
    for name in sorted(tensors):
        content.add(name, tensors[name])
    metadata = {"form": "decomposition", "shape": list(changes[0].shape), "hash": content.hexdigest()}
    write_tensors(path, {name: tuple(one.shape) for name, one in tensors.items()}, tensors.__getitem__, metadata)


class SpectralBases:
    """What the experts changed, decomposed, memory-mapped: all vectors of a run rest on it.

    Args:
        experts: The experts' names, in the order of the files' parts.
        files: By parameter name, what `write_decomposition` wrote.

    Raises:
        ValueError: A file holds something else.
    """

    def __init__(self, experts: Sequence[str], files: Mapping[str, Path]) -> None:
        self.experts = tuple(experts)
        self._files: dict[str, TensorFile] = {}
        digest = hashlib.sha256(json.dumps(self.experts).encode())
        for name in sorted(files):
            file = TensorFile(files[name])
            if file.metadata.get("form") != "decomposition":
                raise ValueError(f"{files[name]} holds {file.metadata.get('form', 'a foreign file')!r}")
            self._files[name] = file
            digest.update(json.dumps([name, file.metadata["hash"]]).encode())
        self._hash = digest.hexdigest()

    def names(self) -> tuple[str, ...]:
        """The parameters, sorted."""
        return tuple(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's own shape."""
        return tuple(self._files[name].metadata["shape"])

    def is_matrix(self, name: str) -> bool:
        """Whether the parameter has singular values."""
        return len(self.shape(name)) == 2

    def sigma(self, name: str, expert: int) -> torch.Tensor:
        """Singular values of one expert's change of a matrix, descending, shape (min(m, n),), fp32."""
        return self._files[name].tensor(f"sigma.{expert}")

    def rebuilt(self, name: str, expert: int, sigma: torch.Tensor) -> torch.Tensor:
        """U diag(sigma) Vᵀ of one expert, shape (m, n), fp32, where `sigma` lies."""
        file = self._files[name]
        u, vh = (file.tensor(f"{part}.{expert}").to(sigma.device) for part in ("u", "vh"))
        return (u * sigma) @ vh

    def vector(self, name: str, expert: int) -> torch.Tensor:
        """One expert's change of a parameter that is no matrix."""
        return self._files[name].tensor(f"delta.{expert}")

    def hash(self) -> str:
        """SHA-256 of experts, names and decompositions, hexadecimal."""
        return self._hash


class SpectralTaskVector:
    """A task vector Σ_k U_k diag(c_k σ_k + d_k) V_kᵀ + Σ_j a_j N(seed_j), of which it owns c, d, and the noises.

    U_k diag(σ_k) V_kᵀ is what expert k changed in a matrix; of other parameters the vector is Σ_k c_k times the
    experts' changes. Linear merges are linear in (c, d), and so is an SVD mutation in the basis of an expert
    (`SvdMutation`, ``basis: expert``): a child of three experts of Llama-3-8B is 9 MB instead of 32 GB, and exact.
    Whatever leaves the experts' singular vectors (a stretch in the basis of a child, sums with other forms) gives a
    `DenseTaskVector`.

    Args:
        bases: The experts' decompositions, shared with all vectors it is to meet.
        coefficients: c, one number for each expert.
        offsets: d by the name of a matrix, shape (experts, min(m, n)), fp32; 0 where a matrix is missing.
        noise: Gaussian mutations, as (seed, coefficient).

    Raises:
        ValueError: Another number of coefficients than of experts, or offsets of another shape.
    """

    def __init__(
        self,
        bases: SpectralBases,
        coefficients: Sequence[float],
        offsets: Mapping[str, torch.Tensor] | None = None,
        noise: Noise = (),
    ) -> None:
        if len(coefficients) != len(bases.experts):
            raise ValueError(f"expected {len(bases.experts)} coefficients, an expert each, got {len(coefficients)}")
        self.bases = bases
        self.coefficients = tuple(map(float, coefficients))
        self.noise = merged_noise(noise)
        self._offsets = {name: one for name, one in sorted((offsets or {}).items()) if one.any()}
        for name, one in self._offsets.items():
            expected = (len(bases.experts), min(bases.shape(name)))
            if tuple(one.shape) != expected or one.dtype != torch.float32:
                raise ValueError(f"offsets of {name}: expected float32 {expected}, got {one.dtype} {tuple(one.shape)}")
        self._hash: str | None = None

    @classmethod
    def of_expert(cls, bases: SpectralBases, expert: str) -> SpectralTaskVector:
        """The task vector of one of the experts.

        Raises:
            ValueError: There is no such expert.
        """
        if expert not in bases.experts:
            raise ValueError(f"there is no expert {expert}; there are {', '.join(bases.experts)}")
        return cls(bases, [float(one == expert) for one in bases.experts])

    def names(self) -> tuple[str, ...]:
        """The parameters it covers, sorted."""
        return self.bases.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's shape."""
        return self.bases.shape(name)

    def delta(self, name: str, device: torch.device | None = None) -> torch.Tensor:
        """The parameter's delta, fp32. Noise is drawn on the CPU: the same numbers everywhere."""
        total = torch.zeros(self.shape(name), device=device)
        for expert, coefficient in enumerate(self.coefficients):
            if not self.bases.is_matrix(name):
                total.add_(self.bases.vector(name, expert).to(total.device), alpha=coefficient)
            elif (values := self._values(name, expert)).any():
                total.add_(self.bases.rebuilt(name, expert, values.to(total.device)))
        if self.bases.is_matrix(name):
            for seed, coefficient in self.noise:
                total.add_(standard_noise(seed, name, self.shape(name)).to(total.device), alpha=coefficient)
        return total

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The delta in consecutive rows; computed whole, as the rounding of a product depends on its size."""
        return split(self.delta(name), rows)

    def singular_values(self, name: str) -> torch.Tensor:
        """Singular values of a matrix, descending, fp32; of an expert those that are stored."""
        own = self._expert()
        return self.bases.sigma(name, own) if own is not None else singular_values(self.delta(name))

    def combine(self, own: float, others: Sequence[tuple[float, TaskVector]]) -> TaskVector:
        """The linear combination own · self + Σ_i c_i τ_i; dense where another vector does not rest on these bases.

        Raises:
            ValueError: Names or shapes differ.
        """
        terms = [(coefficient, other) for coefficient, other in others if self._rests_on_these(other)]
        if len(terms) < len(others):
            return DenseTaskVector.of(self).combine(own, others)
        vectors = [(own, self), *((c, other) for c, other in terms if isinstance(other, SpectralTaskVector))]
        coefficients = [sum(c * one.coefficients[k] for c, one in vectors) for k in range(len(self.coefficients))]
        offsets: dict[str, torch.Tensor] = {}
        for coefficient, one in vectors:
            for name, offset in one._offsets.items():
                offsets[name] = offsets[name] + coefficient * offset if name in offsets else coefficient * offset
        noise = [(seed, c * a) for c, one in vectors for seed, a in one.noise]
        return SpectralTaskVector(self.bases, coefficients, offsets, tuple(noise))

    def stretch(self, basis: TaskVector, weights: SpectralWeights) -> TaskVector:
        """Adds U diag(w ∘ σ) Vᵀ of each matrix of `basis`; dense unless that is an expert on these bases.

        Raises:
            ValueError: Names or shapes differ.
        """
        expert = basis._expert() if isinstance(basis, SpectralTaskVector) and self._rests_on_these(basis) else None
        if expert is None:
            dense = DenseTaskVector.of(self)
            return dense.stretch(dense if basis is self else basis, weights)
        offsets = dict(self._offsets)
        for name in filter(self.bases.is_matrix, self.names()):
            sigma = self.bases.sigma(name, expert)
            added = torch.zeros(len(self.coefficients), len(sigma))
            added[expert] = stretches(sigma, weights(name, len(sigma)))
            offsets[name] = offsets[name] + added if name in offsets else added
        return SpectralTaskVector(self.bases, self.coefficients, offsets, self.noise)

    def add_noise(self, seed: int, coefficient: float) -> SpectralTaskVector:
        """Adds coefficient · N(seed) to every matrix; costs nothing until a delta is asked for."""
        noise = (*self.noise, (seed, coefficient))
        return SpectralTaskVector(self.bases, self.coefficients, self._offsets, noise)

    def hash(self) -> str:
        """SHA-256 over bases, coefficients, offsets and noise, hexadecimal; computed once."""
        if self._hash is None:
            content = ContentHash(json.dumps(["spectral", self.bases.hash(), self.coefficients, self.noise]))
            for name, offset in self._offsets.items():
                content.add(name, offset)
            self._hash = content.hexdigest()
        return self._hash

    def save(self, path: Path) -> None:
        """Writes coefficients, offsets and noise, atomically; the bases are written once for all."""
        shapes: dict[str, tuple[int, ...]] = {name: tuple(one.shape) for name, one in self._offsets.items()}
        facts = {"bases": self.bases.hash(), "coefficients": self.coefficients, "noise": self.noise}
        write_tensors(path, shapes, self._offsets.__getitem__, {"form": "spectral", **facts})

    @classmethod
    def load(cls, path: Path, bases: SpectralBases) -> SpectralTaskVector:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else, or was made for other bases.
        """
        file = TensorFile(path)
        if file.metadata.get("form") != "spectral":
            raise ValueError(f"{path} holds {file.metadata.get('form', 'a foreign file')!r}, expected 'spectral'")
        if file.metadata["bases"] != bases.hash():
            raise ValueError(f"{path} was made for bases {file.metadata['bases'][:12]}, got {bases.hash()[:12]}")
        noise = tuple((int(seed), float(coefficient)) for seed, coefficient in file.metadata["noise"])
        return cls(bases, file.metadata["coefficients"], {name: file.tensor(name) for name in file.names()}, noise)

    def _values(self, name: str, expert: int) -> torch.Tensor:
        values = self.coefficients[expert] * self.bases.sigma(name, expert)
        return values + self._offsets[name][expert] if name in self._offsets else values

    def _expert(self) -> int | None:
        """Which expert it is; None where it is none."""
        if self._offsets or self.noise or sorted(self.coefficients) != [0.0] * (len(self.coefficients) - 1) + [1.0]:
            return None
        return self.coefficients.index(1.0)

    def _rests_on_these(self, other: TaskVector) -> bool:
        if not isinstance(other, SpectralTaskVector):
            return False
        return other.bases is self.bases or other.bases.hash() == self.bases.hash()
