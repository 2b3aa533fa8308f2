"""From task vectors to files, sums and the parameters of a whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from cycleqd.task_vector.bases import SharedBases
from cycleqd.task_vector.dense import DenseTaskVector
from cycleqd.task_vector.factored import FactoredTaskVector
from cycleqd.task_vector.files import TensorFile
from cycleqd.task_vector.protocol import TaskVector, TensorSource


def load_task_vector(path: Path, bases: SharedBases | None = None) -> TaskVector:
    """Reads a task vector of either form.

    Args:
        path: What `TaskVector.save` wrote.
        bases: The run's bases; needed for a factored vector.

    Raises:
        ValueError: The file is not a task vector, or its bases are missing or others.
    """
    form = TensorFile(path).metadata.get("form")
    if form == "dense":
        return DenseTaskVector.load(path)
    if form != "factored":
        raise ValueError(f"{path} is not a task vector; expected a file written by TaskVector.save")
    if bases is None:
        raise ValueError(f"{path} is a factored task vector and needs the run's shared bases")
    return FactoredTaskVector.load(path, bases)


def weighted_sum(coefficients: Sequence[float], vectors: Sequence[TaskVector]) -> TaskVector:
    """Σ_i c_i τ_i in the form of the first vector.

    Raises:
        ValueError: No vectors, another number of coefficients, or vectors that don't fit together.
    """
    if not vectors or len(coefficients) != len(vectors):
        raise ValueError(f"expected as many coefficients as vectors, got {len(coefficients)} and {len(vectors)}")
    return vectors[0].combine(coefficients[0], list(zip(coefficients[1:], vectors[1:], strict=True)))


def merged_weights(base: TensorSource, task_vector: TaskVector | None) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters θ = θ0 + τ one by one, in the base's order, each in the base's dtype.

    The sum is formed in fp32 and rounded once. Parameters that the task vector lacks pass as they are.

    Args:
        base: θ0; left untouched.
        task_vector: τ, or None for the base itself.

    Returns:
        An iterator of (name, tensor); holds one parameter at a time.

    Raises:
        ValueError: The task vector covers parameters that the base lacks or has in another shape.
    """
    changed = frozenset(task_vector.names() if task_vector else ())
    unknown = sorted(changed - set(base.names()))
    if unknown:
        raise ValueError(f"the task vector covers {len(unknown)} parameters that the base lacks: {unknown[:5]}")
    for name in changed:
        if task_vector and tuple(base.shape(name)) != task_vector.shape(name):
            raise ValueError(
                f"{name}: the base has {tuple(base.shape(name))}, the task vector {task_vector.shape(name)}"
            )

    # A generator of its own, so that the checks above happen at the call and not at the first parameter.
    def parameters() -> Iterator[tuple[str, torch.Tensor]]:
        for name in base.names():
            tensor = base.tensor(name)
            if task_vector and name in changed:
                tensor = (tensor.float() + task_vector.delta(name)).to(tensor.dtype)
            yield name, tensor

    return parameters()
