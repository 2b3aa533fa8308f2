"""How a child's task vector is changed at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch

from cycleqd.randomness import parameter_rng
from cycleqd.task_vector import TaskVector


class Mutation(Protocol):
    """Changes a task vector at random: a seed is drawn when the child is proposed, and applied when it is made."""

    kind: ClassVar[str]
    """Its name in configurations and recipes."""

    def draw(self, rng: np.random.Generator) -> int | None:
        """A seed that fixes every number of one child's mutation; None where nothing is random."""
        ...

    def apply(self, child: TaskVector, expert: TaskVector, seed: int | None) -> TaskVector:
        """The mutated child.

        Args:
            child: The task vector after crossover; stays as it is.
            expert: The task vector of the active skill's expert.
            seed: What `draw` gave.

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

    kind: ClassVar[str] = "svd"
    w_max: float = 0.3
    basis: Literal["child", "expert"] = "child"

    def __post_init__(self) -> None:
        if not 0 <= self.w_max < math.inf:
            raise ValueError(f"w_max must be at least 0, got {self.w_max}")
        if self.basis not in ("child", "expert"):
            raise ValueError(f"basis must be child or expert, got {self.basis!r}")

    def draw(self, rng: np.random.Generator) -> int | None:
        """See `Mutation.draw`."""
        return _seed(rng)

    def apply(self, child: TaskVector, expert: TaskVector, seed: int | None) -> TaskVector:
        """The stretched child; see `Mutation.apply`."""
        basis = child if self.basis == "child" else expert
        return child.stretch(basis, UniformWeights(_given(seed), self.w_max))


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

    kind: ClassVar[str] = "gaussian"
    std: float = 0.0003

    def __post_init__(self) -> None:
        if not 0 <= self.std < math.inf:
            raise ValueError(f"std must be at least 0, got {self.std}")

    def draw(self, rng: np.random.Generator) -> int | None:
        """See `Mutation.draw`."""
        return _seed(rng)

    def apply(self, child: TaskVector, expert: TaskVector, seed: int | None) -> TaskVector:
        """The child with noise; see `Mutation.apply`."""
        return child.add_noise(_given(seed), self.std)


@dataclass(frozen=True, slots=True)
class NoMutation:
    """Leaves the child as it is: crossover alone, an ablation."""

    kind: ClassVar[str] = "none"

    def draw(self, rng: np.random.Generator) -> int | None:
        """Nothing."""
        return None

    def apply(self, child: TaskVector, expert: TaskVector, seed: int | None) -> TaskVector:
        """The child itself; see `Mutation.apply`."""
        return child


def _seed(rng: np.random.Generator) -> int:
    # 53 bits: JSON readers that know only doubles keep the seed exact.
    return int(rng.integers(2**53))


def _given(seed: int | None) -> int:
    if seed is None:
        raise ValueError("this mutation is random and needs the seed that it drew")
    return seed
