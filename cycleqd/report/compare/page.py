"""The comparison of several runs as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd.report.charts import COLOURS, Series, dash_of, line_chart
from cycleqd.report.compare.comparison import Comparison
from cycleqd.report.compare.runs import Run
from cycleqd.report.compare.tables import group_table, run_table, settings_table
from cycleqd.report.tables import percent
from cycleqd.report.templates import render


def page(runs: Sequence[Run], found: Comparison) -> str:
    """The page: final scores, curves over each other, settings that differ.

    Args:
        runs: What was compared.
        found: What came of it.
    """
    names = [run.label for run in runs]
    return render(
        "compare.html.j2",
        title=f"{len(runs)} runs compared" if len(runs) > 1 else f"Run {names[0]}",
        lead=_lead(found),
        runs=run_table(found),
        groups=group_table(found),
        settings=settings_table(found),
        legend=[(name, number, number % COLOURS, dash_of(number)) for number, name in enumerate(names)],
        charts=_charts(runs, found),
    )


def _charts(runs: Sequence[Run], found: Comparison) -> list[str]:
    def series(values: Sequence[Sequence[float]]) -> list[Series]:
        return [Series(run.label, line, number) for number, (run, line) in enumerate(zip(runs, values, strict=True))]

    charts = [line_chart("Best mean over all skills, %", series([run.curves.best for run in runs]))]
    if len(found.skills) > 1:
        charts += [
            line_chart(f"Best in {skill}, %", series([run.curves.skills.get(skill, ()) for run in runs]))
            for skill in found.skills
        ]
    charts += [
        line_chart("Mean over all individuals in the archives, %", series([run.curves.mean for run in runs])),
        line_chart("Cells filled, %", series([run.curves.filled for run in runs])),
    ]
    return charts


def _lead(found: Comparison) -> str:
    finished = [run for run in found.runs if run.final is not None]
    if not finished:
        return "No final model is measured on the test split yet."
    best = max(finished, key=lambda run: run.final.mean if run.final else 0.0)
    text = f"{len(finished)} of {len(found.runs)} runs have a final model on the test split."
    if best.final is not None:
        interval = f"{100 * best.final.low:.0f}–{100 * best.final.high:.0f}"
        text += f" The highest mean over all skills is {percent(best.final.mean)} % ({interval}), of {best.label}."
    return text
