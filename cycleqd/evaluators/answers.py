"""What an evaluator says of a child over a pipe or a cluster: JSON, also where it failed.

No exception crosses: it might not survive the way, or want classes that are not there. Its text and traceback do.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, Final

from cycleqd.evaluators.job import Warm
from cycleqd.evaluators.protocol import Outcome
from cycleqd.run.names import RunRef
from cycleqd.sandbox import SandboxUnavailable
from cycleqd.skills.parts import Part

_RETRIED: Final[Mapping[str, type[Exception]]] = {
    f"{kind.__module__}:{kind.__qualname__}": kind for kind in (SandboxUnavailable, ConnectionError, TimeoutError)
}
"""Faults of an evaluator that whoever waits may try again."""


class EvaluationFailed(RuntimeError):
    """An evaluator met a fault that would only repeat itself; the text has its traceback."""


def request(run: RunRef, individual: str, part: Part) -> dict[str, Any]:
    """What an evaluator is asked for: the arguments of `Warm.score`."""
    return {"individual": individual, "part": part, "run": run.model_dump()}


def answer(warm: Warm, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Scores; runs where the evaluator is.

    Args:
        warm: The evaluator.
        asked: A `request`.
    """
    try:
        run = RunRef.model_validate(asked["run"])
        outcome = warm.score(run, asked["individual"], asked["part"])
    except Exception as error:
        cause = error.__cause__ or error  # of a round that another skill broke
        kind = type(cause)
        return {
            "fault": {
                "kind": f"{kind.__module__}:{kind.__qualname__}",
                "text": str(cause),
                "trace": "".join(traceback.format_exception(error)),
            }
        }
    return {"outcome": outcome.model_dump(mode="json")}


def outcome_of(answered: Mapping[str, Any]) -> Outcome:
    """What an `answer` says; runs where the coordinator is.

    Raises:
        SandboxUnavailable: Infrastructure failed; so do ConnectionError and TimeoutError say.
        EvaluationFailed: Everything else.
    """
    if fault := answered.get("fault"):
        kind = _RETRIED.get(fault["kind"])
        raise kind(fault["text"]) if kind else EvaluationFailed(fault["trace"])
    return Outcome.model_validate(answered["outcome"])
