"""One form for all experts of a run: factored where every update is, dense otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch

from cycleqd.experts.sources.protocol import Update
from cycleqd.task_vector import DenseTaskVector, LoraFactors, SharedBases, TaskVector, build_bases
from cycleqd.task_vector.rows import split


class TaskVectors(NamedTuple):
    """The experts' task vectors.

    Attributes:
        bases: What factored vectors share; None where the vectors are dense.
        vectors: By skill.
    """

    bases: SharedBases | None
    vectors: Mapping[str, TaskVector]


def task_vectors(updates: Mapping[str, Update]) -> TaskVectors:
    """Task vectors that fit together: factored if no update has a dense part, else dense.

    Dense ones cover the parameters that any expert changes.

    Args:
        updates: The experts minus the base, by skill.

    Raises:
        ValueError: There are none, or they are not of one base.
    """
    if all(update.dense is None for update in updates.values()):
        bases, factored = build_bases({skill: update.factors for skill, update in updates.items()})
        return TaskVectors(bases, dict(factored))
    shapes: dict[str, tuple[int, ...]] = {}
    for skill, update in updates.items():
        for name, shape in _shapes(update).items():
            if shapes.setdefault(name, shape) != shape:
                raise ValueError(
                    f"{name}: the experts disagree on its shape: {skill} has {shape}, others {shapes[name]}"
                )
    return TaskVectors(None, {skill: _dense(update, shapes) for skill, update in updates.items()})


def _shapes(update: Update) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        name: (factors.b.shape[0], factors.a.shape[1]) for name, factors in update.factors.items()
    }
    if update.dense is not None:
        shapes |= {name: update.dense.shape(name) for name in update.dense.names()}
    return shapes


def _dense(update: Update, shapes: Mapping[str, tuple[int, ...]]) -> DenseTaskVector:
    if update.dense is not None and update.dense.names() == tuple(sorted(shapes)):
        return update.dense
    covered = frozenset(update.dense.names()) if update.dense is not None else frozenset()

    def delta(name: str) -> torch.Tensor:
        if name in update.factors:
            return product(update.factors[name])
        if update.dense is not None and name in covered:
            return update.dense.delta(name)
        return torch.zeros(shapes[name])

    def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
        if update.dense is not None and name in covered and name not in update.factors:
            return update.dense.blocks(name, rows)
        return split(delta(name), rows)

    return DenseTaskVector(shapes, delta, blocks)


def product(factors: LoraFactors) -> torch.Tensor:
    """The update scale · B A in fp32."""
    a, b, scale = factors
    return scale * (b.float() @ a.float())
