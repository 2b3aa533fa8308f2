"""How the figures look: one palette, safe for colour-blind readers, and one way to make a PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK = "#222222"
GREY = "#8a8a8a"
PALE = "#d9d9d9"
EMPTY = "#f4f4f4"
FINAL = "#D55E00"
"""The aggregate's colour, kept for it alone."""

SKILL_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""One per skill in the order of the cycle. Okabe and Ito 2008, "Color Universal Design"."""

QUALITY_COLOURS = "viridis"
"""Perceptually even, and readable in grey and with any colour blindness."""

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a figure looks the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Figures made inside have the house style; the caller's matplotlib settings stay as they were."""
    with mpl.rc_context():
        cast(Any, mpl.rcParams).update(_SETTINGS)
        yield


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 200 dots per inch, without a date or a version in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None}, facecolor="white")
    return buffer.getvalue()


def skill_colour(skills: tuple[str, ...], skill: str) -> str:
    """The colour of a skill in all figures of a run."""
    return SKILL_COLOURS[skills.index(skill) % len(SKILL_COLOURS)]


def paler(colour: str) -> str:
    """The colour mixed with white; opaque, so that grid lines stay behind it."""
    red, green, blue = (0.45 * part + 0.55 for part in to_rgb(colour))
    return to_hex((red, green, blue))


def as_percent(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Labels an axis of fractions in percent."""
    for axis, wanted in ((axes.xaxis, x), (axes.yaxis, y)):
        if wanted:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def faint_grid(axes: Axes, axis: str) -> None:
    """Thin lines behind the data along one axis (``x`` or ``y``)."""
    axes.grid(axis=axis, color=PALE, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
