"""Bringing a dense task vector back to shared bases."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from cycleqd.task_vector.bases import SharedBases
from cycleqd.task_vector.factored import FactoredTaskVector
from cycleqd.task_vector.protocol import TaskVector
from cycleqd.task_vector.rows import fits_a_block, joined, rows_at_a_time


class Projection(NamedTuple):
    """A task vector on shared bases, and what was lost.

    Attributes:
        task_vector: The nearest vector on the bases (least squares): C = Pᵀ τ Q.
        residual: What it lacks, as a share of the vector's Frobenius norm over all parameters: 0 for a vector that
            lies on the bases, 1 for one that has no part on them.
    """

    task_vector: FactoredTaskVector
    residual: float


def project(vector: TaskVector, bases: SharedBases) -> Projection:
    """The nearest vector on the bases, parameter by parameter.

    Raises:
        ValueError: The vector covers other parameters than the bases.
    """
    if vector.names() != bases.names():
        different = sorted(set(vector.names()) ^ set(bases.names()))
        raise ValueError(f"the vector and the bases differ in {len(different)} names: {different[:5]}")
    cores: dict[str, torch.Tensor] = {}
    lost = total = 0.0
    for name in bases.names():
        delta = _in_double(vector, name)
        p, q = bases.left(name).double(), bases.right(name).double()
        core = p.T @ delta @ q
        # In place: each of these is as large as the parameter in fp64.
        lost += float((p @ core @ q.T).sub_(delta).square_().sum())
        total += float(delta.square_().sum())
        cores[name] = core.float()
    return Projection(FactoredTaskVector(bases, cores), math.sqrt(lost / total) if total > 0 else 0.0)


def _in_double(vector: TaskVector, name: str) -> torch.Tensor:
    """A copy of the delta in fp64; of a large one, without another copy in fp32."""
    shape = vector.shape(name)
    rows = rows_at_a_time(shape)
    if fits_a_block(shape, rows):
        return vector.delta(name).double()
    return joined(vector.blocks(name, rows), shape, torch.float64)
