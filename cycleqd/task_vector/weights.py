"""Task vectors from files, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cycleqd.task_vector.bases import SharedBases
from cycleqd.task_vector.dense import DenseTaskVector
from cycleqd.task_vector.factored import FactoredTaskVector
from cycleqd.task_vector.files import TensorFile
from cycleqd.task_vector.protocol import TaskVector
from cycleqd.task_vector.spectral import SpectralBases, SpectralTaskVector


def load_task_vector(path: Path, bases: SharedBases | SpectralBases | None = None) -> TaskVector:
    """Reads a task vector of any form.

    Args:
        path: What `TaskVector.save` wrote.
        bases: The run's bases; needed for a factored vector and for a spectral one, of its kind.

    Raises:
        ValueError: The file is not a task vector, or its bases are missing or others.
    """
    form = TensorFile(path).metadata.get("form")
    if form == "dense":
        return DenseTaskVector.load(path)
    if form == "spectral":
        if not isinstance(bases, SpectralBases):
            raise ValueError(f"{path} is a spectral task vector and needs the experts' decompositions")
        return SpectralTaskVector.load(path, bases)
    if form != "factored":
        raise ValueError(f"{path} is not a task vector; expected a file written by TaskVector.save")
    if not isinstance(bases, SharedBases):
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
