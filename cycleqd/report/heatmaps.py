"""Pictures of the archives: where the experts are, and how the search filled the grid.

An archive has one axis per other skill. Two axes make a heat map (the paper's Figures 4 and 6), one axis makes bars,
none a single value, and more are shown pair by pair, each cell with the best quality along the axes left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cycleqd.report.history import Axis, History
from cycleqd.report.labels import Box, cell_box, place_label
from cycleqd.report.style import EMPTY, GREY, INK, QUALITY_COLOURS, as_percent, faint_grid
from cycleqd.search.archive import Cell, Occupant

MARK = "#D55E00"
LABEL = "#B04A00"
"""Experts' frames and names: orange stands out from every colour of the scale."""

LETTERS, LINES = 38, 18
"""Letters and lines of a label that fit into a panel, about 3.4 inches square with 8 points."""

TICKS = 6
"""Labelled bin edges per axis, at most."""

LABELLED_BINS = 15
"""Up to this many bins an axis, each cell shows its quality in figures."""


def archive_figure(history: History, skill: str) -> Figure:
    """The archive of one skill as it is now, the experts' cells marked."""
    axes_of_archive = history.axes[skill]
    cells: Mapping[Cell, Occupant] = history.now.cells[skill] if history.now else {}
    pairs = _pairs(axes_of_archive)
    if len(axes_of_archive) < 2:
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        _few_axes(figure.subplots(), history, skill, cells)
        return figure
    columns = min(3, len(pairs))
    lines = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns + 0.7, 3.9 * lines), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
    scale = _scale(history, skill)
    for panel, pair in zip(panels, pairs, strict=False):
        _heat(panel, history, skill, cells, pair, scale, detailed=True)
    for panel in panels[len(pairs) :]:
        panel.remove()
    suffix = ", best along the other axes" if len(pairs) > 1 else ""
    panels[0].set_title(f"{skill} archive: {len(cells)} of {history.capacity[skill]} cells{suffix}")
    _colour_bar(figure, panels[: len(pairs)], scale, f"quality: {skill} score, %")
    return figure


def growth_figure(history: History) -> Figure:
    """All archives at a few moments of the search: one line per archive, time from left to right."""
    shots = history.snapshots
    figure = Figure(figsize=(0.8 + 2.15 * len(shots), 2.15 * len(history.skills)), layout="constrained")
    panels = figure.subplots(len(history.skills), len(shots), squeeze=False)
    for line, skill in zip(panels, history.skills, strict=True):
        scale = _scale(history, skill)
        pairs = _pairs(history.axes[skill])
        for column, (panel, shot) in enumerate(zip(line, shots, strict=True)):
            if pairs:
                _heat(panel, history, skill, shot.cells[skill], pairs[0], scale, detailed=False)
                if column:
                    panel.set_ylabel("")
            else:
                _few_axes(panel, history, skill, shot.cells[skill], detailed=False)
            if skill == history.skills[0]:
                panel.set_title("experts only" if shot.generations == 0 else f"{shot.generations} generations")
            else:
                panel.set_title("")
        line[0].annotate(
            f"{skill} archive",
            (-0.42, 0.5),
            xycoords="axes fraction",
            rotation=90,
            ha="right",
            va="center",
            weight="bold",
        )
        if pairs:
            _colour_bar(figure, line, scale, f"{skill} score, %")
    return figure


def _pairs(axes: Sequence[Axis]) -> list[tuple[int, int]]:
    return list(combinations(range(len(axes)), 2))


def _scale(history: History, skill: str) -> Normalize:
    """One colour scale for an archive at all times."""
    qualities = [one.scores[skill] for shot in history.snapshots for one in shot.cells[skill].values()]
    low, high = min(qualities), max(qualities)
    return Normalize(low, high if high > low else low + 0.01)


def _heat(
    axes: Axes,
    history: History,
    skill: str,
    cells: Mapping[Cell, Occupant],
    pair: tuple[int, int],
    scale: Normalize,
    *,
    detailed: bool,
) -> None:
    across, up = (history.axes[skill][number] for number in pair)
    quality = np.full((len(up.edges) - 1, len(across.edges) - 1), np.nan)
    for cell, one in cells.items():
        place = (cell[pair[1]], cell[pair[0]])
        quality[place] = np.fmax(quality[place], one.scores[skill])
    colours = colormaps[QUALITY_COLOURS]
    axes.set_facecolor(EMPTY)
    axes.pcolormesh(
        across.edges,
        up.edges,
        quality,
        cmap=colours,
        norm=scale,
        edgecolors="white",
        linewidth=0.4,
    )
    if detailed and max(quality.shape) <= LABELLED_BINS:
        for (y, x), value in np.ndenumerate(quality):
            if not np.isnan(value):
                dark = sum(colours(scale(value))[:3]) < 1.5
                axes.text(
                    _middle(across, x),
                    _middle(up, y),
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if dark else INK,
                )
    for line, axis, label in (("x", across, axes.set_xlabel), ("y", up, axes.set_ylabel)):
        _label_edges(axes, line, axis, TICKS if detailed else 4)
        label(f"{axis.skill} score, %")
    for spine in axes.spines.values():
        spine.set_visible(True)
    _mark_experts(axes, history, skill, pair, {(c[pair[0]], c[pair[1]]) for c in cells}, named=detailed)


def _mark_experts(
    axes: Axes,
    history: History,
    skill: str,
    pair: tuple[int, int],
    occupied: Collection[tuple[int, int]],
    *,
    named: bool,
) -> None:
    across, up = (history.axes[skill][number] for number in pair)
    bins = (len(across.edges) - 1, len(up.edges) - 1)
    found: dict[tuple[int, int], list[str]] = {}
    for name in history.experts:
        cell = history.expert_cells[skill, name]
        found.setdefault((cell[pair[0]], cell[pair[1]]), []).append(name.removeprefix("expert-"))
    cells, labels = [cell_box(cell) for cell in {*occupied, *found}], list[Box]()
    for (x, y), names in found.items():
        corner = (across.edges[x], up.edges[y])
        size = (across.edges[x + 1] - corner[0], up.edges[y + 1] - corner[1])
        for colour, width in (("white", 3.2), (MARK, 1.6)):
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width, zorder=3))
        if not named:
            continue
        text = ", ".join(names) + (" experts" if len(names) > 1 else " expert")
        box = place_label((x, y), (bins[0] * len(text) / LETTERS, bins[1] / LINES), cells, labels, bins)
        labels.append(box)
        axes.annotate(
            text,
            (corner[0] + size[0] / 2, corner[1] + (size[1] if box.y > y + 0.5 else 0)),
            xytext=(corner[0] + (box.x - x) * size[0], corner[1] + (box.y - y) * size[1]),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            color=LABEL,
            zorder=5,
            arrowprops={"arrowstyle": "-", "color": LABEL, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0},
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _few_axes(
    axes: Axes, history: History, skill: str, cells: Mapping[Cell, Occupant], *, detailed: bool = True
) -> None:
    """An archive with one behaviour characteristic (bars along it) or none (a single bar)."""
    behaviour = history.axes[skill][0] if history.axes[skill] else Axis("", (0.0, 1.0))
    edges = behaviour.edges
    for cell, one in cells.items():
        x = cell[0] if cell else 0
        value = one.scores[skill]
        width = edges[x + 1] - edges[x]
        axes.bar(edges[x], value, width=width, align="edge", color="#56B4E9", edgecolor="white")
        if detailed:
            axes.text(edges[x] + width / 2, 0.01, f"{100 * value:.0f}", ha="center", va="bottom", fontsize=7)
    for name, scores in history.experts.items():
        bins = history.expert_cells[skill, name]
        x = bins[0] if bins else 0
        axes.plot((edges[x] + edges[x + 1]) / 2, scores[skill], "D", color=MARK, markersize=6, markeredgecolor="white")
        if detailed:
            right = x >= (len(edges) - 1) / 2 and bool(bins)
            axes.annotate(
                f"{name.removeprefix('expert-')} expert",
                ((edges[x] + edges[x + 1]) / 2, scores[skill]),
                xytext=(-9 if right else 9, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="center",
                fontsize=8,
                fontweight="bold",
                color=LABEL,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    top = max(*(point.best[skill] for point in history.progress), 0.0)  # the same at all times
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.25 * top + 0.01)
    axes.set_ylabel(f"quality: {skill} score, %" if detailed else f"{skill}, %")
    as_percent(axes, y=True)
    faint_grid(axes, "y")
    if behaviour.skill:
        _label_edges(axes, "x", behaviour, TICKS if detailed else 4)
        axes.set_xlabel(f"{behaviour.skill} score, %")
    else:
        axes.set_xticks([0.5], ["the only cell"])
        axes.set_xlim(-1, 2)
        axes.tick_params(axis="x", length=0)
    axes.set_title(f"{skill} archive: {len(cells)} of {history.capacity[skill]} cells")


def _colour_bar(figure: Figure, panels: Sequence[Axes], scale: Normalize, label: str) -> None:
    bar = figure.colorbar(ScalarMappable(scale, QUALITY_COLOURS), ax=list(panels), label=label, pad=0.015, aspect=28)
    bar.outline.set_edgecolor(GREY)
    as_percent(bar.ax, y=True)


def _middle(axis: Axis, number: int) -> float:
    return (axis.edges[number] + axis.edges[number + 1]) / 2


def _label_edges(axes: Axes, line: str, axis: Axis, count: int) -> None:
    """Ticks at bin edges, evenly, the first and the last among them."""
    places = sorted({round(place) for place in np.linspace(0, len(axis.edges) - 1, count)})
    edges = [axis.edges[place] for place in places]
    digits = 0 if all(abs(100 * edge - round(100 * edge)) < 0.05 for edge in edges) else 1
    labels = [f"{100 * edge:.{digits}f}" for edge in edges]
    (axes.set_xticks if line == "x" else axes.set_yticks)(edges, labels)
