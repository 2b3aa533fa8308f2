"""Task vectors of LoRA experts and their descendants: small cores between shared bases."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from cycleqd.task_vector.bases import LoraFactors, SharedBases, orthonormal_columns
from cycleqd.task_vector.files import ContentHash, TensorFile, write_tensors
from cycleqd.task_vector.protocol import SpectralWeights, TaskVector
from cycleqd.task_vector.rows import split
from cycleqd.task_vector.spectrum import singular_values, standard_noise, stretches
from cycleqd.task_vector.threads import one_thread

Noise = tuple[tuple[int, float], ...]
"""Gaussian mutations as (seed, coefficient), sorted by seed."""


class FactoredTaskVector:
    """A task vector τ = P C Qᵀ + Σ_j c_j N(seed_j), of which it owns only the cores C and the list of noises.

    P and Q are orthonormal, so the SVD of C is the SVD of P C Qᵀ, and linear arithmetic on cores is linear
    arithmetic on task vectors.

    Args:
        bases: P and Q, shared with all vectors it is to meet.
        cores: C per parameter name of `bases`, shape (R_P, R_Q), fp32; not changed afterwards.
        noise: Gaussian mutations, which leave the span of the bases.

    Raises:
        ValueError: A core is missing, superfluous, of the wrong shape or dtype.
    """

    def __init__(self, bases: SharedBases, cores: Mapping[str, torch.Tensor], noise: Noise = ()) -> None:
        if tuple(sorted(cores)) != bases.names():
            raise ValueError(f"cores and bases differ in their names: {sorted(set(cores) ^ set(bases.names()))}")
        for name, core in cores.items():
            if tuple(core.shape) != bases.core_shape(name) or core.dtype != torch.float32:
                raise ValueError(
                    f"core of {name}: expected float32 {bases.core_shape(name)}, got {core.dtype} {tuple(core.shape)}"
                )
        self.bases = bases
        self.noise = merged_noise(noise)
        self._cores = {name: cores[name] for name in bases.names()}
        self._hash: str | None = None

    def names(self) -> tuple[str, ...]:
        """The matrices it covers, sorted."""
        return self.bases.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """The matrix' shape (m, n)."""
        return self.bases.shape(name)

    def core(self, name: str) -> torch.Tensor:
        """The core C of a matrix, shape (R_P, R_Q), fp32."""
        return self._cores[name]

    def delta(self, name: str, device: torch.device | None = None) -> torch.Tensor:
        """P C Qᵀ plus noise, shape (m, n), fp32. Noise is drawn on the CPU: the same numbers everywhere."""
        left, core, right = self.bases.left(name), self._cores[name], self.bases.right(name)
        if device is not None:
            left, core, right = left.to(device), core.to(device), right.to(device)
        delta = left @ core @ right.T
        for seed, coefficient in self.noise:
            delta.add_(standard_noise(seed, name, self.bases.shape(name)).to(delta.device), alpha=coefficient)
        return delta

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The delta in consecutive rows; computed whole, as the rounding of a product depends on its size."""
        return split(self.delta(name), rows)

    def singular_values(self, name: str) -> torch.Tensor:
        """Singular values, descending, fp32: those of the core, or of the whole matrix where there is noise."""
        if self.noise:
            return singular_values(self.delta(name))
        with one_thread():
            return singular_values(self._cores[name])

    def combine(self, own: float, others: Sequence[tuple[float, TaskVector]]) -> FactoredTaskVector:
        """The linear combination own · self + Σ_i c_i τ_i, on cores and on noise coefficients.

        Raises:
            ValueError: Another vector is not factored on the same bases.
        """
        terms = [(coefficient, self._same_bases(other)) for coefficient, other in others]
        cores = {}
        for name, core in self._cores.items():
            total = core * own
            for coefficient, other in terms:
                total.add_(other._cores[name], alpha=coefficient)
            cores[name] = total
        noise = [(seed, own * c) for seed, c in self.noise]
        noise += [(seed, coefficient * c) for coefficient, other in terms for seed, c in other.noise]
        return FactoredTaskVector(self.bases, cores, tuple(noise))

    def stretch(self, basis: TaskVector, weights: SpectralWeights) -> FactoredTaskVector:
        """Adds U diag(w ∘ σ) Vᵀ of each matrix of `basis`, by a batched SVD of its cores.

        Raises:
            ValueError: `basis` is not factored on the same bases, or carries noise, which has no small SVD.
        """
        decomposed = self._same_bases(basis)
        if decomposed.noise:
            raise ValueError(
                "a factored task vector with Gaussian noise can't be decomposed by its cores; "
                "use one kind of mutation in a run, or mutate on the basis of an expert"
            )
        groups: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name in self.names():
            groups[self.bases.core_shape(name)].append(name)
        cores: dict[str, torch.Tensor] = {}
        with one_thread():
            for core_shape, names in groups.items():
                u, sigma, vh = torch.linalg.svd(
                    torch.stack([decomposed._cores[n] for n in names]), full_matrices=False
                )
                w = torch.stack([weights(name, min(core_shape)) for name in names])
                added = (u * stretches(sigma, w).unsqueeze(-2)) @ vh
                cores |= {name: self._cores[name] + added[i] for i, name in enumerate(names)}
        return FactoredTaskVector(self.bases, cores, self.noise)

    def add_noise(self, seed: int, coefficient: float) -> FactoredTaskVector:
        """Adds coefficient · N(seed) to every matrix; costs nothing until a delta is asked for."""
        return FactoredTaskVector(self.bases, self._cores, (*self.noise, (seed, coefficient)))

    def hash(self) -> str:
        """SHA-256 over bases, cores and noise, hexadecimal; computed once."""
        if self._hash is None:
            content = ContentHash(json.dumps(["factored", self.bases.hash(), self.noise]))
            for name, core in self._cores.items():
                content.add(name, core)
            self._hash = content.hexdigest()
        return self._hash

    def save(self, path: Path) -> None:
        """Writes cores and noise, atomically; the bases are saved once for all by `SharedBases.save`."""
        shapes: dict[str, tuple[int, ...]] = {name: self.bases.core_shape(name) for name in self.names()}
        metadata = {"form": "factored", "bases": self.bases.hash(), "noise": self.noise}
        write_tensors(path, shapes, self._cores.__getitem__, metadata)

    @classmethod
    def load(cls, path: Path, bases: SharedBases) -> FactoredTaskVector:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else, or cores for other bases.
        """
        file = TensorFile(path)
        if file.metadata.get("form") != "factored":
            raise ValueError(f"{path} holds {file.metadata.get('form', 'a foreign file')!r}, expected 'factored'")
        if file.metadata["bases"] != bases.hash():
            raise ValueError(f"{path} was made for bases {file.metadata['bases'][:12]}, got {bases.hash()[:12]}")
        noise = tuple((int(seed), float(coefficient)) for seed, coefficient in file.metadata["noise"])
        return cls(bases, {name: file.tensor(name) for name in file.names()}, noise)

    def _same_bases(self, other: TaskVector) -> FactoredTaskVector:
        if not isinstance(other, FactoredTaskVector):
            raise ValueError(f"expected a factored task vector, got {type(other).__name__}; convert both to dense")
        if other.bases is not self.bases and other.bases.hash() != self.bases.hash():
            raise ValueError("the task vectors rest on different bases; build the bases from all experts at once")
        return other


def build_bases(
    experts: Mapping[str, Mapping[str, LoraFactors | tuple[torch.Tensor, torch.Tensor, float]]],
) -> tuple[SharedBases, dict[str, FactoredTaskVector]]:
    """Shared bases of all experts and each expert as cores on them.

    Ranks may differ between experts and matrices; a matrix that an expert did not train has a zero core.

    Args:
        experts: For each skill, for each parameter name, the factors (A (r, n), B (m, r), scale).

    Returns:
        The bases and, per skill, the expert's task vector. The order of skills and names does not matter.

    Raises:
        ValueError: No experts, factors that don't fit together, or values that are not finite.
    """
    if not experts:
        raise ValueError("bases need at least one expert")
    trained: dict[str, dict[str, LoraFactors]] = defaultdict(dict)
    for skill in sorted(experts):
        for name, (a, b, scale) in experts[skill].items():
            trained[name][skill] = LoraFactors(a, b, float(scale))
    left, right = {}, {}
    cores: dict[str, dict[str, torch.Tensor]] = {skill: {} for skill in experts}
    with one_thread():
        for name, stored in trained.items():
            # In fp64 are the factors of one matrix at a time; those of all would be twice what is kept.
            by_skill = {skill: _in_double(factors) for skill, factors in stored.items()}
            _check_factors(name, by_skill)
            p = orthonormal_columns([factors.b for factors in by_skill.values()])
            q = orthonormal_columns([factors.a.T for factors in by_skill.values()])
            left[name], right[name] = p.float(), q.float()
            for skill, core_of_skill in cores.items():
                core = torch.zeros(p.shape[1], q.shape[1], dtype=torch.float64)
                if skill in by_skill:
                    a, b, scale = by_skill[skill]
                    core = scale * ((p.T @ b) @ (a @ q))
                core_of_skill[name] = core.float()
    bases = SharedBases(left, right)
    return bases, {skill: FactoredTaskVector(bases, cores[skill]) for skill in experts}


def _in_double(factors: LoraFactors) -> LoraFactors:
    a, b, scale = factors
    return LoraFactors(a.detach().cpu().double(), b.detach().cpu().double(), scale)


def _check_factors(name: str, by_skill: Mapping[str, LoraFactors]) -> None:
    shapes = set()
    for skill, (a, b, scale) in by_skill.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise ValueError(f"{skill}, {name}: A {tuple(a.shape)} and B {tuple(b.shape)} are not (r, n) and (m, r)")
        if not (a.isfinite().all() and b.isfinite().all() and torch.tensor(scale).isfinite()):
            raise ValueError(f"{skill}, {name}: the factors hold values that are not finite; the training diverged")
        shapes.add((b.shape[0], a.shape[1]))
    if len(shapes) > 1:
        raise ValueError(f"{name}: the experts disagree on the matrix' shape: {sorted(shapes)}")


def merged_noise(noise: Noise) -> Noise:
    """Each seed once, sorted, with the sum of its coefficients; those that cancel out are gone."""
    total: dict[int, float] = defaultdict(float)
    for seed, coefficient in noise:
        total[seed] += coefficient
    return tuple((seed, total[seed]) for seed in sorted(total) if total[seed] != 0.0)
