"""Merge methods: functions of several task vectors to one.

As a crossover a merge method merges two parents, as a baseline the experts, once and without a search.
`cycleqd.seams.MERGE_METHODS` is the table: a row has the class and where the method comes from. Which are exact on the
cores of factored vectors, in milliseconds for a whole model, each says itself (`MergeMethod.exact_on_cores`): the
linear ones, SLERP, TSV-Merge, Iso-C and KnOTS are, as they commute with orthonormal bases; TIES and DARE act on
entries and return dense vectors, which `cycleqd.task_vector.project` brings back to the bases, saying what that loses.

Every row has a rule for parameters that are not matrices (norms, biases): linear methods, SLERP, TIES and DARE treat
them like all others, the spectral ones average them by weight, times their scale.
"""

from __future__ import annotations

from typing import Any

from cycleqd.seams import MERGE_METHODS
from cycleqd.search.operators.merging.protocol import MergeMethod


def merge_method(name: str, **settings: Any) -> MergeMethod:
    """The merge method of a name.

    Args:
        name: A row of `MERGE_METHODS`.
        settings: The fields of its class.

    Raises:
        ValueError: There is no such row, or a setting is out of range.
        TypeError: The class has no such setting.
    """
    method: MergeMethod = MERGE_METHODS.load(name)(**settings)
    return method


__all__ = ["MergeMethod", "merge_method"]
