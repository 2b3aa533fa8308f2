"""Merge methods: functions of several task vectors to one.

As a crossover a merge method merges two parents, as a baseline the experts, once and without a search. `METHODS` is
the table: a row has the class and where the method comes from. Which are exact on the cores of factored vectors, in
milliseconds for a whole model, each says itself (`MergeMethod.exact_on_cores`): the linear ones, SLERP, TSV-Merge,
Iso-C and KnOTS are, as they commute with orthonormal bases; TIES and DARE act on entries and return dense vectors,
which `cycleqd.task_vector.project` brings back to the bases, saying what that loses.

Every row has a rule for parameters that are not matrices (norms, biases): linear methods, SLERP, TIES and DARE treat
them like all others, the spectral ones average them by weight, times their scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from cycleqd.search.operators.merging.protocol import MergeMethod


class MethodRow(NamedTuple):
    """A merge method: where its class is, ``module:Class``, and where it comes from."""

    location: str
    source: str


_HERE = "cycleqd.search.operators.merging"

METHODS: Mapping[str, MethodRow] = {
    "linear": MethodRow(f"{_HERE}.linear:Linear", "CycleQD, https://arxiv.org/abs/2410.14735"),
    "task_arithmetic": MethodRow(
        f"{_HERE}.task_arithmetic:TaskArithmetic", "Ilharco et al. 2023, https://arxiv.org/abs/2212.04089"
    ),
    "slerp": MethodRow(f"{_HERE}.slerp:Slerp", "Shoemake 1985, https://doi.org/10.1145/325334.325242"),
    "ties": MethodRow(f"{_HERE}.ties:Ties", "Yadav et al. 2023, https://arxiv.org/abs/2306.01708"),
    "dare": MethodRow(f"{_HERE}.dare:Dare", "Yu et al. 2024, https://arxiv.org/abs/2311.03099"),
    "tsv": MethodRow(f"{_HERE}.tsv:TsvMerge", "Gargiulo et al. 2024, https://arxiv.org/abs/2412.00081"),
    "iso_c": MethodRow(f"{_HERE}.iso_c:IsoC", "Marczak et al. 2025, https://arxiv.org/abs/2502.04959"),
    "knots": MethodRow(f"{_HERE}.knots:Knots", "Stoica et al. 2024, https://arxiv.org/abs/2410.19735"),
}
"""All merge methods by the name that a configuration has for them."""


SEEDED = frozenset({"dare"})
"""Those that draw: they take a ``seed``."""


def merge_method(name: str, **settings: Any) -> MergeMethod:
    """The merge method of a name.

    Args:
        name: A row of `METHODS`.
        settings: The fields of its class.

    Raises:
        ValueError: There is no such row, or a setting is out of range.
    """
    if name not in METHODS:
        raise ValueError(f"no merge method is called {name!r}; there are {', '.join(METHODS)}")
    module, _, cls = METHODS[name].location.partition(":")
    method: MergeMethod = getattr(import_module(module), cls)(**settings)
    return method


__all__ = ["METHODS", "SEEDED", "MergeMethod", "MethodRow", "merge_method"]
