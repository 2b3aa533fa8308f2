"""How alike two models are, by the spectra of their task vectors.

The mean over matrices of the cosine between the two models' vectors of singular values (CycleQD,
https://arxiv.org/abs/2410.14735): 1 where every matrix spreads its change over directions in the same proportions,
whatever the directions are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cycleqd.task_vector import TaskVector
from cycleqd.task_vector.matrices import matrix_names

Spectra = Mapping[str, torch.Tensor]
"""Singular values per matrix, descending."""


def spectra(task_vector: TaskVector) -> dict[str, torch.Tensor]:
    """The singular values of every matrix of a task vector; a few numbers per matrix, worth keeping."""
    found: dict[str, torch.Tensor] = {}
    for name in task_vector.names():
        if matrices := matrix_names(name, task_vector.shape(name)):
            values = task_vector.singular_values(name)
            found |= zip(matrices, values if values.ndim == 2 else values[None], strict=True)
    return found


def similarity(first: TaskVector | Spectra, second: TaskVector | Spectra) -> float:
    """Mean over matrices of the cosine between two vectors of singular values, in [0, 1].

    The shorter vector counts as filled up with zeros. Two matrices of zeros are alike (1), a matrix of zeros and
    another are not (0).

    Args:
        first: A task vector of either form, or its `spectra`.
        second: Another one over the same matrices.

    Raises:
        ValueError: The vectors cover different matrices, or none.
    """
    one, two = _spectra(first), _spectra(second)
    if one.keys() != two.keys():
        raise ValueError(f"the task vectors cover different matrices: {sorted(one.keys() ^ two.keys())[:5]}")
    if not one:
        raise ValueError("the task vectors cover no matrices")
    return float(np.mean([_cosine(one[name], two[name]) for name in sorted(one)]))


def similarity_matrix(task_vectors: Sequence[TaskVector]) -> NDArray[np.float64]:
    """All pairwise similarities, shape (n, n), symmetric; decomposes each task vector once.

    Raises:
        ValueError: As `similarity`.
    """
    of_all = [spectra(vector) for vector in task_vectors]
    matrix = np.ones((len(of_all), len(of_all)))
    for i, one in enumerate(of_all):
        for j, two in enumerate(of_all[:i]):
            matrix[i, j] = matrix[j, i] = similarity(one, two)
    return matrix


def _spectra(model: TaskVector | Spectra) -> Spectra:
    return model if isinstance(model, Mapping) else spectra(model)


def _cosine(one: torch.Tensor, two: torch.Tensor) -> float:
    common = min(len(one), len(two))
    norms = float(one.double().norm() * two.double().norm())
    if norms == 0.0:
        return float(not one.any() and not two.any())
    return min(float(one[:common].double() @ two[:common].double()) / norms, 1.0)
