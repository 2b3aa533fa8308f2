"""Runs that a start may not work on: told in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect.states import Failed

from cycleqd.admission import OtherScores
from cycleqd.base_identity import BaseDiffers
from cycleqd.lease import RunLocked

P = ParamSpec("P")
T = TypeVar("T")

REFUSALS = (RunLocked, BaseDiffers, OtherScores)
"""What a start is refused with before it has done anything; the text says what to do, and a traceback nothing more."""


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Lets a flow's refusal become its state, with the fault as its data, so that nobody logs a traceback.

    Whoever called the flow as a function gets the fault as usual.
    """

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except REFUSALS as error:
            refusal: Any = Failed(message=str(error), data=error)  # Prefect takes a returned state for the flow's own
            return refusal  # type: ignore[no-any-return]

    return call
