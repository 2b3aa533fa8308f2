"""The figures of a report as PNG images: progress, scores and time. The archives are in `heatmaps`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cycleqd.report.heatmaps import archive_figure, growth_figure
from cycleqd.report.history import History
from cycleqd.report.style import FINAL, GREY, INK, PALE, as_percent, drawing, faint_grid, paler, png, skill_colour
from cycleqd.report.summary import PHASES, Summary
from cycleqd.report.tables import PHASE_NAMES, duration, percent, row_name
from cycleqd.run.records import Score
from cycleqd.statistics import Interval

WORK_COLOURS = {
    "prefill": "#004C78",
    "decode": "#0072B2",
    "sandbox": "#56B4E9",
    "judge": "#009E73",
    "propose": "#F0E442",
    "merge": "#E69F00",
    "transfer": "#D55E00",
    "store": "#CC79A7",
    "idle": "#BBBBBB",
}
"""Of the activities in `cycleqd.run.seconds.Split`; the engine's are at the bottom."""
PHASE_COLOURS = dict(zip(PHASES, ("#0072B2", "#56B4E9", "#E69F00", "#CC79A7", "#BBBBBB"), strict=True))

DASHED = (0, (4, 3))
DOTTED = (0, (1.2, 1))


def draw(summary: Summary, history: History) -> dict[str, bytes]:
    """All figures that the run has data for, by file name without ``.png``."""
    figures: dict[str, Figure] = {}
    with drawing():
        for split in summary.splits:
            if summary.splits[split]:
                figures[f"scores-{split}"] = scores_figure(summary, split)
        if history.now is not None:
            for skill in history.skills:
                figures[f"archive-{skill}"] = archive_figure(history, skill)
            if len(history.snapshots) > 1:
                figures["archives-over-time"] = growth_figure(history)
            figures["progress"] = progress_figure(history)
        if summary.wall_seconds["total"] > 0:
            figures["time"] = time_figure(summary, history)
        return {name: png(figure) for name, figure in figures.items()}


def scores_figure(summary: Summary, split: str) -> Figure:
    """One panel per skill and one for the mean; a bar per model, with its 95 % interval."""
    rows = [row for row in reversed(summary.rows) if row in summary.splits[split]]
    columns = [*summary.skills, *(["mean"] if len(summary.skills) > 1 else [])]
    figure = Figure(figsize=(2.2 + 1.95 * len(columns), 1.05 + 0.27 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    top = max((high for column in columns for _, (_, high) in _bars(summary, split, column).values()), default=0.0)
    for axes, column in zip(panels, columns, strict=True):
        bars = _bars(summary, split, column)
        for place, row in enumerate(rows):
            if row not in bars:
                axes.text(0, place, " not measured", va="center", fontsize=7, color=GREY)
                continue
            value, (low, high) = bars[row]
            axes.barh(place, value, height=0.72, color=_bar_colour(summary, row))
            axes.errorbar(value, place, xerr=[[value - low], [high - value]], color=INK, capsize=2.5, linewidth=1)
            axes.text(high + 0.015 * top, place, percent(value), va="center", fontsize=7.5)
        axes.set_title(_panel_title(summary, split, column))
        axes.set_xlim(0, max(top * 1.2, 0.01))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="y", length=0)
        as_percent(axes, x=True)
        faint_grid(axes, "x")
    panels[0].set_yticks(range(len(rows)), [row_name(row, summary) for row in rows])
    for label, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row == "cycleqd" else "normal")
    figure.supxlabel(f"score on the {split} split, %  (whiskers: 95 % intervals)", fontsize=8.5)
    return figure


def progress_figure(history: History) -> Figure:
    """Best and mean score per generation, per archive and over all skills, and the cells filled."""
    panels = [*history.skills, *(["all"] if len(history.skills) > 1 else [])]
    columns = min(3 if len(panels) > 3 else 2, len(panels) + 1)
    lines = -(-(len(panels) + 1) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.35 * lines + 0.35), layout="constrained")
    frames = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    for axes, panel in zip(frames, panels, strict=False):
        _progress(axes, history, panel)
    _filled(frames[len(panels)], history)
    for axes in frames[len(panels) + 1 :]:
        axes.remove()
    figure.legend(
        handles=[
            Line2D([], [], label="best of the archive", color=INK),
            Line2D([], [], label="mean of the archive", linestyle=DOTTED, color=INK),
            Line2D([], [], label="each child", marker=".", linestyle="", color=GREY),
            Line2D([], [], label="best expert", linestyle=DASHED, color=GREY, linewidth=1),
        ],
        loc="outside lower center",
        ncols=4,
    )
    for axes in frames[: len(panels) + 1]:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("generation")
        faint_grid(axes, "y")
    return figure


def time_figure(summary: Summary, history: History) -> Figure:
    """Where the wall-clock time went, in the whole run and in each generation."""
    figure = Figure(figsize=(7.4, 3.6 if history.children else 2.0), layout="constrained")
    panels = figure.subplots(
        2 if history.children else 1, 1, squeeze=False, height_ratios=[1, 2.2][: 1 + bool(history.children)]
    )
    whole: Axes = panels[0, 0]
    left = 0.0
    total = summary.wall_seconds["total"]
    for phase in PHASES:
        seconds = summary.wall_seconds[phase]
        label = f"{PHASE_NAMES[phase]}: {duration(seconds)} ({100 * seconds / total:.0f} %)"
        whole.barh(0, seconds / 60, left=left / 60, color=PHASE_COLOURS[phase], label=label, height=0.6)
        left += seconds
    whole.set_title(f"Whole run: {duration(total)}")
    whole.set_yticks([])
    whole.set_xlim(0, total / 60)
    whole.set_xlabel("minutes")
    whole.spines["left"].set_visible(False)
    figure.legend(ncols=3, loc="outside lower center", handlelength=1)
    if history.children:
        seconds_per_generation(panels[1, 0], history)
    return figure


def _bars(summary: Summary, split: str, column: str) -> Mapping[str, tuple[float, Interval]]:
    bars = {}
    for row, intervals in summary.intervals[split].items():
        value = summary.splits[split][row].get(column)
        if value is not None:
            bars[row] = (value.score if isinstance(value, Score) else value, intervals[column])
    return bars


def _bar_colour(summary: Summary, row: str) -> str:
    kind, _, skill = row.partition(":")
    if kind in ("expert", "elite"):  # the elite in full, the expert paler
        colour = skill_colour(tuple(summary.skills), skill)
        return colour if kind == "elite" else paler(colour)
    return {"base": PALE, "all-data": GREY, "average": GREY, "baseline": GREY, "merged": GREY, "cycleqd": FINAL}[kind]


def _panel_title(summary: Summary, split: str, column: str) -> str:
    if column == "mean":
        return "mean of skills"
    counts = sorted({score.n for row in summary.rows if (score := summary.score(split, row, column))})
    return f"{column} (n = {'/'.join(map(str, counts))})"


def _progress(axes: Axes, history: History, panel: str) -> None:
    steps = np.arange(len(history.progress))
    if panel == "all":
        colour, title = INK, "Mean of all skills, all archives"
        best = [point.best_overall for point in history.progress]
        mean = [point.mean_overall for point in history.progress]
        child = [float(np.mean([score.score for score in record.scores.values()])) for record in history.children]
        expert = max(float(np.mean(list(scores.values()))) for scores in history.experts.values())
    else:
        colour, title = skill_colour(history.skills, panel), f"{panel} archive: {panel} score"
        best = [point.best[panel] for point in history.progress]
        mean = [point.mean[panel] for point in history.progress]
        child = [record.scores[panel].score for record in history.children]
        expert = max(scores[panel] for scores in history.experts.values())
    axes.axhline(expert, color=GREY, linewidth=1, linestyle=DASHED)
    axes.plot(steps[1:], child, ".", color=colour, alpha=0.4, markersize=5, markeredgewidth=0)
    axes.plot(steps, mean, color=colour, linestyle=DOTTED)
    axes.plot(steps, best, color=colour, drawstyle="steps-post")
    axes.set_title(title)
    axes.set_ylabel("score, %")
    as_percent(axes, y=True)


def _filled(axes: Axes, history: History) -> None:
    steps = np.arange(len(history.progress))
    for skill in history.skills:
        filled = [point.filled[skill] for point in history.progress]
        axes.plot(steps, filled, color=skill_colour(history.skills, skill), drawstyle="steps-post", label=skill)
    capacity = next(iter(history.capacity.values()))
    axes.set_title(f"Cells filled (of {capacity} per archive)")
    axes.set_ylabel("cells")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="upper left", handlelength=1.6)


def seconds_per_generation(axes: Axes, history: History) -> None:
    """Draws where the time of each generation went: by activity where all records say so, by phase otherwise."""
    steps = np.arange(1, len(history.children) + 1)
    bottom = np.zeros(len(history.children))
    splits = [record.split.seconds for record in history.children if record.split is not None]
    if len(splits) == len(history.children):
        colours = WORK_COLOURS
        parts = {name: np.array([split[name] for split in splits]) for name in colours}
    else:
        colours = PHASE_COLOURS
        parts = {name: np.array([getattr(record.seconds, name) for record in history.children]) for name in colours}
    total = max(1e-9, sum(float(seconds.sum()) for seconds in parts.values()))
    for name, seconds in parts.items():
        label = f"{name} {100 * float(seconds.sum()) / total:.0f} %"
        axes.bar(steps, seconds, bottom=bottom, width=0.85, color=colours[name], label=label)
        bottom += seconds
    axes.set_title(f"Each generation: {bottom.mean():.1f} s on average")
    if colours is WORK_COLOURS:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1, fontsize="small")
    axes.set_xlabel("generation")
    axes.set_ylabel("seconds")
    axes.set_xlim(0.4, len(steps) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    faint_grid(axes, "y")
