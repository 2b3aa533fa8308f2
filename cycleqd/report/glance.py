"""The state of a search at a glance: Markdown with hand-drawn SVG, cheap enough to be made after every generation.

A figure of the report takes matplotlib half a second; these pictures take milliseconds and a few kilobytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.colors import to_hex

from cycleqd.report.history import History
from cycleqd.report.style import EMPTY, FINAL, GREY, INK, QUALITY_COLOURS, skill_colour
from cycleqd.report.tables import TextTable, percent

if TYPE_CHECKING:
    from cycleqd.search.archive import Archive, Archives

CELL = 13
"""Side of a cell in pixels."""

MARGIN = 34
"""Room for the names of the axes, in pixels."""

CURVE_WIDTH, CURVE_HEIGHT = 460, 170
"""The score curve in pixels."""


def archives_markdown(archives: Archives, latest: str) -> str:
    """A table and one heat map per archive.

    Args:
        archives: The archives after some generation.
        latest: Id of the newest individual, whose cells are framed.
    """
    table = TextTable(
        "Archives",
        ("archive", "elite", "best, %", "mean, %", "cells", "QD score"),
        tuple(
            (skill, one.elite().id, percent(one.best), percent(one.mean), _filled(one), f"{one.qd_score:.2f}")
            for skill in archives.skills
            if (one := archives[skill])
        ),
    )
    maps = " ".join(f"![{skill} archive]({_data(heat_map(archives[skill], latest))})" for skill in archives.skills)
    return f"{table.to_markdown()}\n\n{maps}\n\nColour: quality, from dark (low) to yellow (high); framed: {latest}."


def heat_map(archive: Archive, latest: str) -> str:
    """One archive as SVG: its first two behaviour characteristics, each cell with the best along the others."""
    axes = list(archive.grids.items())[:2]
    across = axes[0][1].bins if axes else 1
    up = axes[1][1].bins if len(axes) > 1 else 1
    best: dict[tuple[int, int], float] = {}
    framed = set()
    for cell, one in archive.cells.items():
        place = (cell[0] if cell else 0, cell[1] if len(cell) > 1 else 0)
        best[place] = max(best.get(place, 0.0), one.scores[archive.skill])
        if one.id == latest:
            framed.add(place)
    low, high = (min(best.values()), max(best.values())) if best else (0.0, 0.0)
    colours = colormaps[QUALITY_COLOURS]
    width, height = across * CELL, up * CELL
    parts = [_rectangle(0, 0, width, height, EMPTY)]
    for (x, y), quality in sorted(best.items()):
        colour = to_hex(colours((quality - low) / (high - low) if high > low else 1.0))
        frame = f' stroke="{FINAL}" stroke-width="2"' if (x, y) in framed else ""
        parts.append(_rectangle(x * CELL, height - (y + 1) * CELL, CELL, CELL, colour, frame))
    names = [name for name, _ in axes]
    parts.append(_text(width / 2, height + 14, f"{names[0]} score" if names else "the only cell"))
    if len(names) > 1:
        parts.append(_text(-8, height / 2, f"{names[1]} score", f' transform="rotate(-90 -8 {height / 2:g})"'))
    parts.append(_text(width / 2, -8, f"{archive.skill}: {len(archive.cells)} cells", ' font-weight="bold"'))
    return _svg(parts, max(width, 8 * CELL) + 2 * MARGIN, max(height, 4 * CELL) + 2 * MARGIN)


def curve_markdown(history: History) -> str:
    """The best score of every archive and the best mean over all skills, generation by generation."""
    best = {skill: [point.best[skill] for point in history.progress] for skill in history.skills}
    best["mean of skills"] = [point.best_overall for point in history.progress]
    colours = [*(skill_colour(history.skills, skill) for skill in history.skills), INK]
    steps = max(len(history.progress) - 1, 1)
    top = max(max(line) for line in best.values()) or 1.0
    parts = [_rectangle(0, 0, CURVE_WIDTH, CURVE_HEIGHT, EMPTY)]
    for number, ((name, line), colour) in enumerate(zip(best.items(), colours, strict=True)):
        points = " ".join(
            f"{CURVE_WIDTH * step / steps:.1f},{CURVE_HEIGHT * (1 - value / top):.1f}"
            for step, value in enumerate(line)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(60 + 110 * number, -10, f"{name} {percent(line[-1])}", f' style="fill:{colour}"'))
    parts.append(_text(CURVE_WIDTH / 2, CURVE_HEIGHT + 16, f"generation 0 to {len(history.progress) - 1}"))
    parts.append(_text(-18, 10, percent(top)))
    parts.append(_text(-18, CURVE_HEIGHT, "0"))
    picture = _data(_svg(parts, CURVE_WIDTH + 2 * MARGIN, CURVE_HEIGHT + 2 * MARGIN))
    return f"Best score on the optimization split, %\n\n![best score per generation]({picture})"


def _filled(archive: Archive) -> str:
    return f"{len(archive.cells)} of {archive.capacity}"


def _svg(parts: Sequence[str], width: float, height: float) -> str:
    inside = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}" font-family="sans-serif" font-size="11">'
        f'<rect x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%" fill="white"/>{inside}</svg>'
    )


def _rectangle(x: float, y: float, width: float, height: float, colour: str, more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}"{more}/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" fill="{GREY}"{more}>{escape(text)}</text>'


def _data(svg: str) -> str:
    """An address that holds the picture itself: the UI loads nothing from elsewhere."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
