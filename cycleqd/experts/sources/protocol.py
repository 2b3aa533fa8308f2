"""What every source of an expert offers: its difference to the base, in the smallest exact form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from cycleqd.base_model import BaseWeights
from cycleqd.faults import MendableFault
from cycleqd.task_vector import DenseTaskVector, LoraFactors


class SourceInvalid(MendableFault, ValueError):
    """An expert's source cannot be used; the text is one line that names it and says why."""


class Update(NamedTuple):
    """An expert minus the base.

    A parameter is in one of the two parts, never in both. Parameters in neither are the base's.

    Attributes:
        factors: Matrices whose change is scale · B A, by the base's parameter names.
        dense: All other changes, computed tensor by tensor when asked for; None where there are none.
        notes: What a user should know of how the source was read, a sentence each.
        as_others_read: Whether other programs, such as mergekit, get the same difference from the source's files. They
            do not where rows were found by token, numbers were multiplied by scales, or a tied embedding was adapted.
    """

    factors: Mapping[str, LoraFactors]
    dense: DenseTaskVector | None = None
    notes: tuple[str, ...] = ()
    as_others_read: bool = True

    def names(self) -> tuple[str, ...]:
        """The parameters that it changes, sorted."""
        return tuple(sorted([*self.factors, *(self.dense.names() if self.dense else ())]))


class ExpertSource(Protocol):
    """A folder that holds an expert; made by `cycleqd.seams.EXPERT_SOURCES`."""

    def __init__(self, folder: Path) -> None: ...

    def update(self, base: BaseWeights) -> Update:
        """The expert minus the base.

        Names, shapes and options are checked now; dense deltas are computed when they are asked for.

        Args:
            base: The run's base model.

        Raises:
            SourceInvalid: The expert is no change of this base, or is stored in a form that has no exact reading.
        """
        ...

    def check_values(self) -> None:
        """Reads all stored numbers once.

        Raises:
            SourceInvalid: One of them is NaN or infinite.
        """
        ...
