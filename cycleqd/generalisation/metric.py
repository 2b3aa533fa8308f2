"""One number that a task of lm-evaluation-harness gives, with its interval."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Metric(BaseModel):
    """One metric of a task, or of a group.

    Attributes:
        name: As the task has it, with its filter where it has several.
        value: The harness' own number.
        low: Begins the 95 % interval; None where there is none.
        high: Ends it.
        n: Problems.
        share: Whether each problem scores in [0, 1], so that the value is a percentage.
        higher_is_better: As the task says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    share: bool
    higher_is_better: bool = True
