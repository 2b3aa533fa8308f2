"""Small experts with matrices of awkward shapes, and the plain dense arithmetic that the real one is held against."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple

import numpy as np
import torch

from cycleqd.search import Recipe, make
from cycleqd.search.operators import Crossover, Mutation, NoMutation
from cycleqd.search.operators.mutation import UniformWeights
from cycleqd.task_vector import (
    DenseTaskVector,
    FactoredTaskVector,
    SpectralBases,
    SpectralTaskVector,
    TaskVector,
    build_bases,
    write_decomposition,
)

Dense = dict[str, torch.Tensor]

SHAPES = {
    "layers.0.q.weight": (12, 12),
    "layers.0.up.weight": (24, 10),
    "layers.0.down.weight": (10, 24),
    "layers.1.q.weight": (12, 12),
    "layers.1.narrow.weight": (3, 20),  # fewer rows than the experts have factors
    "layers.1.column.weight": (7, 1),  # rank 1 whatever happens
}
SKILLS = ("coding", "os", "db")


def lora_factors(seed: int, rank: int = 3) -> dict[str, dict[str, tuple[torch.Tensor, torch.Tensor, float]]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        skill: {
            name: (
                torch.randn(rank, n, generator=generator),
                torch.randn(m, rank, generator=generator) * 0.1,
                2.0,
            )
            for name, (m, n) in SHAPES.items()
        }
        for skill in SKILLS
    }


def factored_experts(seed: int, rank: int = 3) -> dict[str, FactoredTaskVector]:
    return build_bases(lora_factors(seed, rank))[1]


def dense_experts(seed: int, rank: int = 3) -> dict[str, Dense]:
    return {
        skill: {name: scale * (b @ a) for name, (a, b, scale) in factors.items()}
        for skill, factors in lora_factors(seed, rank).items()
    }


_DECOMPOSITIONS = TemporaryDirectory(prefix="toy-experts-")


def spectral_experts(experts: Mapping[str, Dense]) -> dict[str, SpectralTaskVector]:
    """Experts on their own singular vectors, which lie in files until the tests end."""
    folder = Path(mkdtemp(dir=_DECOMPOSITIONS.name))
    names = sorted(experts)
    for name in experts[names[0]]:
        write_decomposition(folder / name, [experts[one][name] for one in names])
    bases = SpectralBases(names, {path.name: path for path in folder.iterdir()})
    return {name: SpectralTaskVector.of_expert(bases, name) for name in experts}


def with_vector(dense: Dense, seed: int) -> Dense:
    generator = torch.Generator().manual_seed(seed)
    return dense | {"norm.weight": torch.randn(12, generator=generator)}


def dense_vector(tensors: Dense) -> DenseTaskVector:
    return DenseTaskVector({name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)


def deltas(vector: TaskVector) -> Dense:
    return {name: vector.delta(name) for name in vector.names()}


def linear(*terms: tuple[float, Dense]) -> Dense:
    return {
        name: sum((c * tensors[name].double() for c, tensors in terms), torch.zeros(())).float()
        for name in terms[0][1]
    }


def drawn_weights(seed: int | None, w_max: float) -> dict[str, np.ndarray]:
    assert seed is not None
    return {name: UniformWeights(seed, w_max)(name, 64).numpy() for name in SHAPES}


def stretch(child: Dense, basis: Dense, weights: dict[str, np.ndarray]) -> Dense:
    """The text of the paper, matrix by matrix, in double precision."""
    result = {}
    for name, delta in child.items():
        result[name] = delta
        u, sigma, vh = np.linalg.svd(basis[name].double().numpy(), full_matrices=False)
        if (sigma > 1e-5 * sigma[0]).sum() > 1:
            added = u @ np.diag(weights[name][: len(sigma)] * sigma) @ vh
            result[name] = (delta.double() + torch.from_numpy(added)).float()
    return result


def assert_close(actual: Dense, expected: Dense, tolerance: float = 1e-5) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        scale = max(float(expected[name].abs().max()), 1.0)
        torch.testing.assert_close(actual[name], expected[name], rtol=0, atol=tolerance * scale, msg=name)


class Crossed(NamedTuple):
    child: TaskVector
    draws: tuple[float, float]
    coefficients: tuple[float, float]
    merge: Mapping[str, float | int | str]
    residual: float


class Mutated(NamedTuple):
    child: TaskVector
    seed: int | None


def cross(crossover: Crossover, first: TaskVector, second: TaskVector, generator: np.random.Generator) -> Crossed:
    draws, coefficients, merge = crossover.draw(generator)
    recipe = Recipe(("first", "second"), coefficients, merge=merge)
    child, residual = make(
        recipe, {"first": first, "second": second}.__getitem__, mutation=NoMutation(), expert_of=str
    )
    return Crossed(child, draws, coefficients, merge, residual)


def mutate(mutation: Mutation, child: TaskVector, expert: TaskVector, generator: np.random.Generator) -> Mutated:
    seed = mutation.draw(generator)
    return Mutated(mutation.apply(child, expert, seed), seed)
