"""Line charts of our own: inline SVG that follows the page's colours, light or dark, and needs no library."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from cycleqd.report.templates import render

COLOURS: Final = 8
"""Colours of lines, which the style sheet has; further lines repeat them, dashed."""

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 10, 34
_STEPS: Final = (1, 2, 5, 10)
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")


class Series(NamedTuple):
    """One line.

    Attributes:
        name: What a reader calls it.
        values: At 0, 1, 2, ..., at least 0; fractions in [0, 1] where they are drawn in percent.
        number: Which of the lines of a page it is; gives its colour.
    """

    name: str
    values: Sequence[float]
    number: int


class _Tick(NamedTuple):
    at: float
    text: str


class _Line(NamedTuple):
    name: str
    number: int
    colour: int
    dash: str
    points: str


class Scale(NamedTuple):
    """What is drawn upwards.

    Attributes:
        unit: Said after a value.
        factor: What a value is multiplied by to be in that unit.
        digits: After the point.
    """

    unit: str
    factor: float
    digits: int


PERCENT: Final = Scale("%", 100.0, 1)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "generation",
    first: int = 0,
    stride: int = 1,
    scale: Scale = PERCENT,
) -> str:
    """A chart over whole numbers, as HTML: a picture, its summary for screen readers, and its numbers.

    The page's script (``explore.js.j2``) reads the numbers and says them where the pointer or the arrow keys are;
    without it, the picture is complete.

    Args:
        title: What is drawn.
        series: The lines; those without values are left out.
        x: What the whole numbers count.
        first: The number of the first value.
        stride: How many numbers lie between a value and the next.
        scale: What is drawn upwards, from 0.
    """
    unit, factor, digits = scale
    drawn = [line for line in series if line.values]
    last = max((len(line.values) - 1 for line in drawn), default=0)
    top = max((value for line in drawn for value in line.values), default=0.0)
    step_y = _step(factor * top, 5) / factor
    ceiling = max(step_y, step_y * math.ceil(top / step_y - 1e-9))
    step_x = max(1.0, _step(last, 6))

    def across(position: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * position / max(last, 1), 2)

    def up(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / ceiling), 2)

    data = {
        "left": _LEFT,
        "width": _WIDTH - _LEFT - _RIGHT,
        "full": _WIDTH,
        "last": last,
        "x": x,
        "first": first,
        "stride": stride,
        "unit": unit,
        "series": [
            {
                "name": line.name,
                "number": line.number,
                "values": [round(factor * value, digits) for value in line.values],
            }
            for line in drawn
        ],
    }
    return render(
        "chart.html.j2",
        title=title,
        summary="; ".join(
            f"{line.name}: {factor * line.values[0]:.{digits}f} to {factor * line.values[-1]:.{digits}f} {unit}"
            for line in drawn
        ),
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        x=x,
        x_ticks=[
            _Tick(across(n * step_x), f"{first + stride * n * step_x:.0f}") for n in range(int(last / step_x) + 1)
        ],
        y_ticks=[_Tick(up(n * step_y), f"{factor * n * step_y:.4g}") for n in range(round(ceiling / step_y) + 1)],
        lines=[
            _Line(
                line.name,
                line.number,
                line.number % COLOURS,
                dash_of(line.number),
                " ".join(f"{across(place)},{up(value)}" for place, value in enumerate(line.values)),
            )
            for line in drawn
        ],
        dots=[
            (line.number % COLOURS, line.number, across(0), up(line.values[0]))
            for line in drawn
            if len(line.values) == 1
        ],
        data=json.dumps(data),
    )


def dash_of(number: int) -> str:
    """The dash pattern of a line, so that lines of one colour differ."""
    return _DASHES[number // COLOURS % len(_DASHES)]


def _step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... that cuts a span into so many parts at most."""
    if span <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(span / most))
    return next(unit * step for step in _STEPS if span / (unit * step) <= most + 1e-9)
