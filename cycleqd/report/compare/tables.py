"""The tables of a comparison."""

from __future__ import annotations

from cycleqd.report.compare.comparison import Comparison, Estimate
from cycleqd.report.tables import TextTable, duration, percent, points, with_interval
from cycleqd.statistics import Interval

_NOTES = (
    "Test split, %: means over the samples; in brackets their 95 % intervals. "
    "Best merge: the best merge of the experts without a search, picked on the test split. "
)
_PAIRED = "Minus the first: difference of the means in points, in pairs of samples; – where the samples differ. "


def run_table(found: Comparison) -> TextTable:
    """One line a run: how far it is, and its final model on the test split."""
    several = len(found.runs) > 1
    header: tuple[str, ...] = ("run", "seed", "generations", "time", "base", "best merge", "CycleQD")
    header += ("minus the first",) if several else ()
    rows = []
    for run in found.runs:
        line: tuple[str, ...] = (
            run.label,
            str(run.seed),
            f"{run.generations} of {run.generations_planned}",
            duration(run.seconds),
            _percent(run.base),
            _percent(run.best_baseline),
            _estimate(run.final),
        )
        line += (_points(run.against_first),) if several else ()
        rows.append((*line, *(_estimate(run.skills.get(skill)) for skill in found.skills)))
    return TextTable(
        "Final models",
        (*header, *found.skills),
        tuple(rows),
        note=_NOTES + (_PAIRED if several else ""),
        values={header.index("time"): [run.seconds for run in found.runs]},
    )


def group_table(found: Comparison) -> TextTable:
    """One line for each set of runs that differ in their seed alone; without rows where no set has two."""
    groups = [group for group in found.groups if len(group.runs) > 1]
    rows = tuple(
        (
            group.name,
            ", ".join(map(str, group.seeds)) or "–",
            _estimate(group.final),
            *(_percent(group.skills.get(skill)) for skill in found.skills),
        )
        for group in (found.groups if groups else ())
    )
    return TextTable(
        "Over seeds",
        ("settings", "finished seeds", "CycleQD", *found.skills),
        rows,
        left=frozenset({1}),
        note="Test split, %: means over seeds; in brackets 95 % intervals by a bootstrap over seeds and samples. "
        "With few seeds they are rather too narrow.",
    )


def settings_table(found: Comparison) -> TextTable:
    """One line for each setting that differs."""
    return TextTable(
        "Settings that differ",
        ("setting", *(run.label for run in found.runs)),
        tuple((path, *texts) for path, texts in found.settings.items()),
    )


def _estimate(value: Estimate | None) -> str:
    return "–" if value is None else with_interval(value.mean, Interval(value.low, value.high))


def _points(value: Estimate | None) -> str:
    return "–" if value is None else points(value.mean, Interval(value.low, value.high))


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)
