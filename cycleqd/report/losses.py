"""How the experts' training went: the loss of each step, as their summaries have it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cycleqd.report.charts import COLOURS, Scale, Series, dash_of, line_chart
from cycleqd.run.names import ALL_DATA, REFINED, expert_key
from cycleqd.run.store import RunStore

MOST_POINTS: Final = 400
"""Of a line: a chart has about as many dots across. A longer training is drawn as means of as many steps each."""
_NATS: Final = Scale("nats", 1.0, 3)


class Training(NamedTuple):
    """One training.

    Attributes:
        losses: Of each step, in nats a trained token.
        validation: Steps after which held-out conversations were looked at, each with their loss.
    """

    losses: Sequence[float]
    validation: Sequence[tuple[int, float]] = ()


class Legend(NamedTuple):
    """What a line of the chart is."""

    name: str
    colour: int
    dash: str
    told: str


def trainings(store: RunStore) -> dict[str, Training]:
    """The trainings of a run by skill, on all data, and of the final model; those without losses are left out."""
    found = {}
    for name in (*store.config().skill_names, ALL_DATA, REFINED):
        if store.exists(key := expert_key(name, "summary.json")):
            summary = store.read_json(key)
            if losses := summary.get("losses"):
                found[name] = Training(losses, [(step, loss) for step, loss in summary.get("validation_losses", ())])
    return found


def loss_chart(found: Mapping[str, Training]) -> tuple[str, list[Legend]]:
    """The chart of all trainings over each other, and what its lines are.

    Args:
        found: At least one.
    """
    stride = max(1, math.ceil(max(len(training.losses) for training in found.values()) / MOST_POINTS))
    series = [Series(name, _thinned(one.losses, stride), number) for number, (name, one) in enumerate(found.items())]
    many = f", means of {stride} steps" if stride > 1 else ""
    chart = line_chart(f"Training loss{many}, nats a token", series, x="step", first=1, stride=stride, scale=_NATS)
    return chart, [
        Legend(line.name, line.number % COLOURS, dash_of(line.number), _told(found[line.name])) for line in series
    ]


def _told(training: Training) -> str:
    text = f"{len(training.losses)} steps, {training.losses[0]:.3f} to {training.losses[-1]:.3f}"
    seen = ", ".join(f"{loss:.3f} after step {step}" for step, loss in training.validation)
    return f"{text}; held out: {seen}" if seen else text


def _thinned(losses: Sequence[float], stride: int) -> list[float]:
    parts = (losses[first : first + stride] for first in range(0, len(losses), stride))
    return [math.fsum(part) / len(part) for part in parts]
