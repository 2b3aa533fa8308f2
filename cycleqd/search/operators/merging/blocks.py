"""How a rule about matrices is carried out: on cores where the vectors are factored, tensor by tensor otherwise.

All rules compute in fp64 and are rounded to fp32 once: whitening divides by small singular values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import torch

from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector, TaskVector
from cycleqd.task_vector.matrices import by_slice, in_slices, is_stack
from cycleqd.task_vector.rows import Blocks, split
from cycleqd.task_vector.spectrum import RANK_TOLERANCE
from cycleqd.task_vector.threads import one_thread

MatrixRule = Callable[[torch.Tensor, int], torch.Tensor]
"""(stack of shape (K, B, p, q), min(m, n)) -> (B, p, q), fp64.

The stack holds B matrices of each of the K vectors, or their cores; min(m, n) is that of the matrices themselves.
"""

EntryRule = Callable[[str, torch.Tensor], torch.Tensor]
"""(parameter's name, stack of shape (K, *shape)) -> shape, fp64. It is handed stacks of matrices one by one."""


_FINER: Final = 8


def merge_matrices(vectors: Sequence[TaskVector], matrices: MatrixRule, others: EntryRule) -> TaskVector:
    """Merges by a rule that commutes with orthonormal bases.

    Args:
        vectors: At least one.
        matrices: For matrices.
        others: For parameters that are not matrices; factored vectors have none.

    Returns:
        A factored vector where all are factored on the same bases, else a dense one.

    Raises:
        ValueError: The vectors don't fit together, or are factored and carry Gaussian noise, which has no core.
    """
    if all(isinstance(vector, FactoredTaskVector) for vector in vectors):
        return _on_cores([vector for vector in vectors if isinstance(vector, FactoredTaskVector)], matrices)

    def rule(name: str, stack: torch.Tensor) -> torch.Tensor:
        if stack.ndim != 3:
            return others(name, stack)
        return matrices(stack.unsqueeze(1), min(stack.shape[1:])).squeeze(0)

    return merge_entries(vectors, rule)


def merge_entries(vectors: Sequence[TaskVector], rule: EntryRule, by_rows: Blocks | None = None) -> DenseTaskVector:
    """Merges tensor by tensor; the work is done when a tensor is asked for, or the vector saved.

    Args:
        vectors: At least one.
        rule: Merges one parameter.
        by_rows: Gives what `rule` gives, bit for bit and in fp32, in consecutive rows; for rules that need not see a
            parameter whole. Stacks go through matrix by matrix in any case.

    Raises:
        ValueError: Names or shapes differ.
    """
    first = vectors[0]
    for other in vectors[1:]:
        if other.names() != first.names():
            different = sorted(set(other.names()) ^ set(first.names()))
            raise ValueError(f"the task vectors differ in {len(different)} names: {different[:5]}")
        for name in first.names():
            if other.shape(name) != first.shape(name):
                raise ValueError(
                    f"{name}: the task vectors have the shapes {first.shape(name)} and {other.shape(name)}"
                )

    def one(name: str, own: Iterable[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
        stack = torch.empty(len(vectors), *shape, dtype=torch.float64)
        for place, delta in enumerate(own):  # one after the other: a list of them would take as much again
            stack[place] = delta
        return rule(name, stack).float()

    def one_of_stack(name: str, *own: torch.Tensor) -> torch.Tensor:
        return one(name, own, own[0].shape)

    def merged(name: str) -> torch.Tensor:
        if is_stack(first.shape(name)):
            return by_slice(one_of_stack, name, *(vector.delta(name) for vector in vectors))
        return one(name, (vector.delta(name) for vector in vectors), first.shape(name))

    def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
        shape = first.shape(name)
        if is_stack(shape):
            return in_slices(one_of_stack, name, shape, *(vector.blocks(name, rows) for vector in vectors))
        return by_rows(name, rows) if by_rows is not None else split(merged(name), rows)

    return DenseTaskVector({name: first.shape(name) for name in first.names()}, merged, blocks)


def merged_rows(
    vectors: Sequence[TaskVector], name: str, rows: int, rule: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """A parameter merged in consecutive rows, by a rule about entries: what `merge_entries` takes as `by_rows`.

    Args:
        vectors: At least one.
        name: The parameter.
        rows: Most rows of a block.
        rule: (stack of shape (K, some rows, *others), fp64) -> (some rows, *others); called in the order of the rows.
    """
    for parts in zip(*(vector.blocks(name, rows) for vector in vectors), strict=True):
        merged = torch.empty_like(parts[0])
        # Rules hold several copies of K vectors in fp64, so they get a small part of the block at a time.
        few = max(1, len(merged) // (_FINER * len(parts)))
        for first in range(0, len(merged), few):
            stack = torch.stack([part[first : first + few].double() for part in parts])
            merged[first : first + few] = rule(stack)
        yield merged


def _on_cores(vectors: Sequence[FactoredTaskVector], rule: MatrixRule) -> FactoredTaskVector:
    bases = vectors[0].bases
    for vector in vectors:
        if vector.bases is not bases and vector.bases.hash() != bases.hash():
            raise ValueError("the task vectors rest on different bases; build the bases from all experts at once")
        if vector.noise:
            raise ValueError(
                "a factored task vector with Gaussian noise can't be decomposed by its cores; "
                "merge it linearly, or use another kind of mutation"
            )
    groups: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for name in bases.names():
        groups[(*bases.core_shape(name), min(bases.shape(name)))].append(name)
    cores: dict[str, torch.Tensor] = {}
    with one_thread():
        for (*_, limit), names in groups.items():
            stack = torch.stack([torch.stack([vector.core(n) for n in names]) for vector in vectors]).double()
            merged = rule(stack, limit).float()
            cores |= {name: merged[i] for i, name in enumerate(names)}
    return FactoredTaskVector(bases, cores)


def weighted(stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Σ_k w_k τ_k over a stack's first axis."""
    total: torch.Tensor = torch.tensordot(torch.tensor(weights, dtype=stack.dtype), stack, dims=1)
    return total


def weighted_mean(scale: float, weights: Sequence[float]) -> EntryRule:
    """λ Σ_k w_k τ_k / Σ_k w_k: what spectral methods do with norms and biases, which have no spectrum."""
    total = math.fsum(weights)
    return lambda _, stack: weighted(stack, weights) * (scale / total)


def nonzero(sigma: torch.Tensor) -> torch.Tensor:
    """Which singular values count, shape and order as given (descending)."""
    return sigma > RANK_TOLERANCE * sigma[..., :1]
