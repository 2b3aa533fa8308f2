"""How a child's task vector is changed at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch

from cycleqd.randomness import parameter_rng
from cycleqd.task_vector import TaskVector


class MutationResult(NamedTuple):
    """A mutated child.

    Attributes:
        child: Its task vector.
        seed: Fixes every number that was drawn; None where none was.
    """

    child: TaskVector
    seed: int | None


class Mutation(Protocol):
    """Changes a task vector at random."""

    def mutate(self, child: TaskVector, expert: TaskVector, rng: np.random.Generator) -> MutationResult:
        """The mutated child.

        Args:
            child: The task vector after crossover; stays as it is.
            expert: The task vector of the active skill's expert.
            rng: Source of the draw.

        Raises:
            ValueError: The vectors don't fit together.
        """
        ...


@dataclass(frozen=True, slots=True)
class SvdMutation:
    """Stretches every matrix along its singular directions (CycleQD, https://arxiv.org/abs/2410.14735).

    τ_l + U diag(w ∘ σ) Vᵀ with U diag(σ) Vᵀ the SVD of matrix l and w_i ~ U[0, w_max), drawn for each matrix.
    Matrices of rank at most 1 and parameters that are not matrices pass through. One seed is drawn from the
    generator; each matrix has a stream of its own from it, so neither the order of the matrices nor the form of the
    task vector changes the mutation.

    Attributes:
        w_max: Upper bound of the relative stretch, at least 0.
        basis: Whose SVD: the child's own (the paper's text) or the active skill's expert's (the authors' code).
    """

    w_max: float = 0.3
    basis: Literal["child", "expert"] = "child"

    def __post_init__(self) -> None:
        if not 0 <= self.w_max < math.inf:
            raise ValueError(f"w_max must be at least 0, got {self.w_max}")
        if self.basis not in ("child", "expert"):
            raise ValueError(f"basis must be child or expert, got {self.basis!r}")

    def mutate(self, child: TaskVector, expert: TaskVector, rng: np.random.Generator) -> MutationResult:
        """The stretched child; see `Mutation.mutate`."""
        seed = _seed(rng)
        basis = child if self.basis == "child" else expert
        return MutationResult(child.stretch(basis, UniformWeights(seed, self.w_max)), seed)


@dataclass(frozen=True, slots=True)
class UniformWeights:
    """The w of an SVD mutation, reproduced from its seed; a `cycleqd.task_vector.SpectralWeights`."""

    seed: int
    w_max: float

    def __call__(self, name: str, count: int) -> torch.Tensor:
        """The w of a matrix, fp32, shape (count,), in [0, w_max]."""
        w = parameter_rng(self.seed, name).uniform(0.0, self.w_max, count)
        return torch.from_numpy(w.astype(np.float32))


@dataclass(frozen=True, slots=True)
class GaussianMutation:
    """Adds N(0, std²) to every entry of every matrix: the ablation of SVD mutation. Vectors pass through.

    Attributes:
        std: Standard deviation, at least 0; the authors' code has 0.0003.
    """

    std: float = 0.0003

    def __post_init__(self) -> None:
        if not 0 <= self.std < math.inf:
            raise ValueError(f"std must be at least 0, got {self.std}")

    def mutate(self, child: TaskVector, expert: TaskVector, rng: np.random.Generator) -> MutationResult:
        """The child with noise; see `Mutation.mutate`."""
        seed = _seed(rng)
        return MutationResult(child.add_noise(seed, self.std), seed)


@dataclass(frozen=True, slots=True)
class NoMutation:
    """Leaves the child as it is: crossover alone, an ablation."""

    def mutate(self, child: TaskVector, expert: TaskVector, rng: np.random.Generator) -> MutationResult:
        """The child itself; see `Mutation.mutate`."""
        return MutationResult(child, None)


def _seed(rng: np.random.Generator) -> int:
    # 53 bits: JSON readers that know only doubles keep the seed exact.
    return int(rng.integers(2**53))
