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

from cycleqd.report.history import History, edge_labels
from cycleqd.report.markdown import code
from cycleqd.report.style import EMPTY, FINAL, GREY, INK, QUALITY_COLOURS, skill_colour
from cycleqd.report.tables import TextTable, percent

if TYPE_CHECKING:
    from cycleqd.search.archive import Archive, Archives

CELL = 13
"""Side of a cell in pixels."""

MARGIN = 40
"""Room for the axes' ticks and names, in pixels."""

BAR, BAR_STEPS = 6 * CELL, 24
"""Least height of the scale of colours in pixels, and its steps."""

MIDDLE = 0.5
"""Place on the scale of an archive in which all score alike: neither high nor low."""

START, END = ' text-anchor="start"', ' text-anchor="end"'

CURVE_WIDTH, CURVE_HEIGHT = 460, 170
"""The score curve in pixels."""


def archives_markdown(archives: Archives, latest: str, page: str) -> str:
    """A table and one heat map per archive.

    Args:
        archives: The archives after some generation.
        latest: Id of the newest individual, whose cells are framed.
        page: Address of the run's report.
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
    return (
        f"{table.to_markdown()}\n\n{maps}\n\nColour: the archive's own score, from dark (lowest) to yellow (highest); "
        f"where all score alike, all cells have the middle colour. Framed: {latest}.\n\n{_whole(page)}"
    )


def heat_map(archive: Archive, latest: str) -> str:
    """One archive as SVG: its first two behaviour characteristics, each cell with the best along the others.

    Edges of bins stand along the axes, in percent. The bar on the right goes from the lowest to the highest quality.
    """
    axes = list(archive.grids.items())[:2]
    across, up = (axes[0][1] if axes else None), (axes[1][1] if len(axes) > 1 else None)
    best: dict[tuple[int, int], float] = {}
    framed = set()
    for cell, one in archive.cells.items():
        place = (cell[0] if cell else 0, cell[1] if len(cell) > 1 else 0)
        best[place] = max(best.get(place, 0.0), one.scores[archive.skill])
        if one.id == latest:
            framed.add(place)
    low, high = (min(best.values()), max(best.values())) if best else (0.0, 0.0)
    width, height = (CELL * (grid.bins if grid else 1) for grid in (across, up))
    parts = [_rectangle(0, 0, width, height, EMPTY)]
    for (x, y), quality in sorted(best.items()):
        frame = f' stroke="{FINAL}" stroke-width="2"' if (x, y) in framed else ""
        colour = _colour((quality - low) / (high - low) if high > low else MIDDLE)
        parts.append(_rectangle(x * CELL, height - (y + 1) * CELL, CELL, CELL, colour, frame))
    parts += [_text(at * width, height + 13, text) for at, text in (edge_labels(across.edges) if across else ())]
    parts += [_text(-5, height * (1 - at) + 4, text, END) for at, text in (edge_labels(up.edges) if up else ())]
    names = [name for name, _ in axes]
    parts.append(_text(width / 2, height + 27, f"{names[0]}, %" if names else "the only cell"))
    if len(names) > 1:
        parts.append(_text(-28, height / 2, f"{names[1]}, %", f' transform="rotate(-90 -28 {height / 2:g})"'))
    parts.append(_text(0, -14, f"{archive.skill}: {_filled(archive)} cells", START + ' font-weight="bold"'))
    parts += _bar(max(width, 4 * CELL) + 14, max(height, BAR), low, high)
    return _svg(parts, max(width, 8 * CELL) + 2 * MARGIN + 56, max(height, BAR) + 2 * MARGIN)


def _bar(x: float, height: float, low: float, high: float) -> list[str]:
    """The scale of colours, with the lowest quality below and the highest on top; one colour where they are one."""
    steps = BAR_STEPS if high > low else 1
    colours = [_colour(step / (steps - 1) if steps > 1 else MIDDLE) for step in range(steps)]
    each = height / steps
    parts = [
        # Half a pixel more, so that no line of the background shows between two steps.
        _rectangle(x, height - (step + 1) * each, 10, each + (0.5 if step else 0), colour)
        for step, colour in enumerate(colours)
    ]
    ends = ((height, low), (8.0, high)) if high > low else ((height / 2 + 4, low),)
    return parts + [_text(x + 15, y, f"{percent(value)} %", START) for y, value in ends]


def _colour(share: float) -> str:
    return to_hex(colormaps[QUALITY_COLOURS](share))


def curve_markdown(history: History, page: str) -> str:
    """The best score of every archive and the best mean over all skills, generation by generation.

    Args:
        history: The run's search.
        page: Address of the run's report.
    """
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
    return f"Best score on the optimization split, %\n\n![best score per generation]({picture})\n\n{_whole(page)}"


def _whole(page: str) -> str:
    """Where to read on. During a run the page is of the last report that was drawn, if any."""
    return (
        f"Every individual, with scores, lineage and episodes: {code(page)} (`cycleqd report` draws it at any time)."
    )


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
    anchor = "" if "text-anchor" in more else ' text-anchor="middle"'
    return f'<text x="{x:g}" y="{y:g}" fill="{GREY}"{anchor}{more}>{escape(text)}</text>'


def _data(svg: str) -> str:
    """An address that holds the picture itself: the UI loads nothing from elsewhere."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
