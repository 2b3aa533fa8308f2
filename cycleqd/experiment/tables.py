"""The table of an experiment as text and as a figure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO

from matplotlib.figure import Figure

from cycleqd.experiment.results import Measured, Results


def to_markdown(results: Results) -> str:
    """The rows with their intervals, the differences, and what is still missing."""
    lines = [f"# {results.name}", ""]
    if results.rows:
        skills = list(results.samples)
        seeds = ", ".join(map(str, results.seeds))
        lines += [
            f"Test scores in percent, seeds {seeds}; {_listed(results)} a seed. Each search had {results.episodes} "
            "episodes on the optimization split. Intervals: 95 %, bootstrap over seeds and samples.",
            "",
            f"| method | mean | 95 % | {' | '.join(skills)} | episodes |",
            f"| --- | --- | --- | {'--- | ' * len(skills)}--- |",
        ]
        for name, row in results.rows.items():
            scores = " | ".join(_percent(row.skills[skill]) for skill in skills)
            lines.append(
                f"| {name} | {_percent(row.mean)} | {_percent(row.low)} to {_percent(row.high)} | {scores} | "
                f"{row.episodes:.0f} |"
            )
        lines += ["", "| difference | points | 95 % |", "| --- | --- | --- |"]
        for name, gap in results.differences.items():
            lines.append(f"| {name} | {100 * gap.mean:+.1f} | {100 * gap.low:+.1f} to {100 * gap.high:+.1f} |")
    else:
        lines.append("No seed is finished for all methods yet.")
    if results.unfinished:
        lines += ["", f"Unfinished runs: {', '.join(results.unfinished)}."]
    return "\n".join(lines) + "\n"


def to_figure(results: Results) -> bytes:
    """The means with their intervals and the seeds as points, as PNG; the subject of the differences in colour.

    Raises:
        ValueError: There is no row.
    """
    if not results.rows:
        raise ValueError(f"{results.name}: no seed is finished for all methods yet")
    names = sorted(results.rows, key=lambda name: results.rows[name].mean)
    subject = results.subject
    figure = Figure(figsize=(7.0, 0.8 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        row = results.rows[name]
        colour = "tab:orange" if name == subject else "tab:blue"
        axes.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=2)
        axes.plot([100 * row.mean], [place], "o", color=colour)
        axes.plot([100 * value for value in row.seeds.values()], [place] * len(row.seeds), "|", color="0.4")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mean test score over skills, percent (line: 95 % interval, ticks: seeds)")
    axes.grid(axis="x", alpha=0.3)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return content.getvalue()


def to_json(results: Results) -> str:
    """Everything, as one JSON object; each row also has its skills' scores under their names, beside the mean."""
    content = results.model_dump(mode="json")
    for row in content["rows"].values():
        row |= row["skills"]
    return json.dumps(content, indent=1) + "\n"


def to_lines(lines: Iterable[Measured]) -> str:
    """One JSON object a method and seed, for other programs and for the pool of another machine."""
    return "".join(f"{line.model_dump_json()}\n" for line in lines)


def _listed(results: Results) -> str:
    return ", ".join(f"{n} samples of {skill}" for skill, n in results.samples.items())


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
