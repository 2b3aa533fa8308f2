"""The tables of a report: as text for a terminal (`cycleqd.cli.tables` prints it) and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cycleqd.report.markdown import plain
from cycleqd.report.summary import PHASES, Baseline, Comparison, Summary
from cycleqd.run.records import Score
from cycleqd.seams import BASELINES
from cycleqd.statistics import Interval

PHASE_NAMES = {
    "train": "training",
    "generate": "generation",
    "sandbox": "sandbox",
    "merge": "merge and load",
    "other": "other",
}
"""What a reader calls the phases."""

METHOD_NAMES = {
    "task_arithmetic": "task arithmetic",
    "slerp": "SLERP",
    "ties": "TIES",
    "dare": "DARE",
    "tsv": "TSV-Merge",
    "iso_c": "Iso-C",
    "knots": "KnOTS",
    "regmean": "RegMean",
}
"""What a reader calls the merge methods."""

NOTES = (
    "Scores are percentages, means over n samples; in brackets their 95 % intervals (Wilson).",
    "Differences are paired by sample; in brackets their 95 % intervals (bootstrap over the samples). One whose "
    "interval holds 0 may be chance.",
    "Average, task arithmetic, TSV-Merge and the like merge the experts without a search. Evaluations: how many "
    "individuals were scored on the optimization split to find a model, a merge's scales or a search's children.",
    "The search chose elites and final weights by their scores on the optimization split: those scores are "
    "optimistic. The test split was never seen by the search.",
)
"""How to read the tables."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table as text: the first column is left-aligned, the others right-aligned.

    Attributes:
        emphasis: Numbers of the rows that stand out.
        prose: Numbers of the columns that a terminal may wrap.
        left: Numbers of further columns that are left-aligned on a terminal.
        note: What a terminal says below the table.
        values: What a page sorts a column's rows by, where that is not what its cells say, by number of the column.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasis: frozenset[int] = frozenset()
    prose: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()
    note: str = ""
    values: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def to_markdown(self) -> str:
        """As a Markdown table, without its title; whatever a cell holds is shown as it stands."""
        header, *rows = ([plain(cell) for cell in line] for line in (self.header, *self.rows))
        lines = [header, ["---" if n == 0 else "---:" for n in range(len(header))]]
        lines += [[f"**{c}**" if i in self.emphasis and c else c for c in row] for i, row in enumerate(rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


ROW_NAMES = {
    "base": "base model",
    "all-data": "fine-tuned on all data",
    "average": "average of experts",
    "merged": "the search's merge",
    "cycleqd": "CycleQD",
}
"""Rows that are of no skill and no baseline, for people."""


def row_name(row: str, summary: Summary) -> str:
    """What a reader calls a row; an elite's comes with its id."""
    kind, _, skill = row.partition(":")
    if kind == "expert":
        return f"{skill} expert"
    if kind == "elite":
        return f"{skill} elite ({summary.individuals[row]})"
    if kind == "baseline":
        return _baseline_name(summary.baselines[row])
    return ROW_NAMES[row]


def _baseline_name(baseline: Baseline) -> str:
    usual = BASELINES[baseline.method].usual if baseline.method in BASELINES else {}
    others = [
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
        for name, value in baseline.settings.items()
        if usual.get(name, 0) != value
    ]
    unusual = ", ".join(item for item in others if not item.startswith("scale "))
    name = METHOD_NAMES.get(baseline.method, baseline.method) + (f" ({unusual})" if unusual else "")
    return f"{name} × {baseline.settings['scale']:g}"


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def with_interval(mean: float, interval: Interval | None) -> str:
    """A fraction as a percentage, with its interval in whole ones."""
    if interval is None:
        return percent(mean)
    return f"{percent(mean)} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def scored(score: Score) -> str:
    """A score as a percentage with its interval."""
    return with_interval(score.score, score.interval)


def baseline_table(summary: Summary) -> TextTable:
    """The final model against the best merge without a search: what the search was worth. Comes first."""
    found = {item.skill: item for item in summary.final_against_best_baseline}
    columns = [*summary.skills, "mean"]
    if summary.best_baseline is None or "mean" not in found:
        return TextTable("", (), ())
    name = f"CycleQD − {row_name(summary.best_baseline, summary)}"
    cells = [signed(found[column]) if column in found else "–" for column in columns]
    return TextTable(
        "The final model against the best merge without a search, test split, points",
        ("difference", *columns, "verdict on the mean"),
        ((name, *cells, found["mean"].verdict),),
        frozenset({0}),
    )


def score_table(summary: Summary, split: str) -> TextTable:
    """Every row's score per skill on a split, with intervals, n in the head, and what finding it cost."""
    rows = [row for row in summary.rows if row in summary.splits.get(split, {})]
    header = ["model"]
    for skill in summary.skills:
        counts = sorted({score.n for row in rows if (score := summary.score(split, row, skill))})
        header.append(f"{skill} (n {'/'.join(map(str, counts)) or '–'})")
    lines = []
    for row in rows:
        cells = []
        for skill in summary.skills:
            score = summary.score(split, row, skill)
            cells.append(scored(score) if score else "–")
        mean = summary.mean(split, row)
        cells.append("–" if mean is None else with_interval(mean, _interval(summary, split, row, "mean")))
        lines.append((row_name(row, summary), *cells, str(summary.evaluations.get(row, "–"))))
    final = frozenset(number for number, row in enumerate(rows) if row == "cycleqd")
    return TextTable(f"Scores on the {split} split, %", (*header, "mean", "evaluations"), tuple(lines), final)


def _interval(summary: Summary, split: str, row: str, column: str) -> Interval | None:
    return summary.intervals.get(split, {}).get(row, {}).get(column)


def comparison_table(summary: Summary, split: str) -> TextTable:
    """CycleQD's mean against every other row's, and each expert against the base in its own skill."""
    chosen = [
        item
        for item in summary.comparisons
        if item.split == split and (item.skill == "mean" or item.row.startswith("expert:"))
    ]
    lines = tuple(
        (
            f"{row_name(item.row, summary)} − {row_name(item.against, summary)}",
            item.skill,
            signed(item),
            str(item.n),
            item.verdict,
        )
        for item in chosen
    )
    return TextTable(
        f"Paired differences on the {split} split, percentage points",
        ("difference", "in", "points", "n", "verdict"),
        lines,
    )


def skill_comparison_table(summary: Summary, split: str) -> TextTable:
    """CycleQD against every other row, skill by skill; an asterisk marks a clear difference."""
    columns = [*summary.skills, "mean"]
    found = {(item.against, item.skill): item for item in summary.comparisons if _final(item, split)}
    rows = [row for row in summary.rows if any((row, column) in found for column in columns)]
    lines = tuple(
        (f"− {row_name(row, summary)}", *(_starred(found.get((row, column))) for column in columns)) for row in rows
    )
    title = f"CycleQD minus each other model on the {split} split, points (* interval without 0)"
    return TextTable(title, ("CycleQD", *columns), lines)


def time_table(summary: Summary) -> TextTable:
    """Where the wall-clock time went."""
    total = summary.wall_seconds["total"]
    lines = [
        (PHASE_NAMES[phase], duration(seconds := summary.wall_seconds[phase]), _share(seconds, total))
        for phase in PHASES
    ]
    return TextTable(
        "Where the time went",
        ("phase", "time", "share"),
        (*lines, ("total", duration(total), _share(total, total))),
        frozenset({len(lines)}),
    )


def headline(summary: Summary) -> str:
    """The outcome in a sentence or two."""
    progress = f"{summary.generations} of {summary.generations_planned} generations are finished"
    mean = summary.mean("test", "cycleqd")
    if mean is None:
        return f"{progress}; the final model is not measured on the test split yet."
    beaten = [row_name(row, summary) for row, better in summary.beats.items() if better]
    others = [row_name(row, summary) for row, better in summary.beats.items() if not better]
    means = [item for item in summary.comparisons if _final(item, "test") and item.skill == "mean"]
    unclear = [row_name(item.against, summary) for item in means if not item.clear]
    skills = "1 skill" if len(summary.skills) == 1 else f"{len(summary.skills)} skills"
    text = f"{progress}. CycleQD's mean over {skills} on the test split is {percent(mean)} %"
    if interval := _interval(summary, "test", "cycleqd", "mean"):
        text += f" ({100 * interval.low:.0f}–{100 * interval.high:.0f})"
    if (best := summary.best_baseline) and summary.final_against_best_baseline:
        against = summary.final_against_best_baseline[0]
        text += f", {signed(against)} points against the best merge without a search, {row_name(best, summary)}"
        cost = summary.evaluations.get(best)
        text += f" ({cost} evaluation{'s' if cost != 1 else ''})" if cost else ""
    text += "."
    if beaten or others:
        text += " It is"
        text += f" above {_and(beaten)}" if beaten else ""
        text += f"{', but' if beaten else ''} not above {_and(others)}" if others else ""
        text += "."
    if unclear:
        text += f" May be chance: the difference{'s' if len(unclear) > 1 else ''} to {_and(unclear)}."
    if summary.aggregated_after is not None and summary.aggregated_after != summary.generations:
        text += f" The final model dates from generation {summary.aggregated_after}: the search has gone on since."
    return text


def signed(item: Comparison) -> str:
    """A difference in percentage points with its interval."""
    return points(item.difference, item.interval)


def points(difference: float, interval: Interval | None) -> str:
    """A difference of fractions in percentage points, with its interval."""
    text = f"{100 * difference:+.1f}"
    if interval is not None:
        text += f" ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _final(item: Comparison, split: str) -> bool:
    return item.split == split and item.row == "cycleqd"


def _starred(item: Comparison | None) -> str:
    return f"{signed(item)}{' *' if item.clear else ''}" if item else "–"


def _share(seconds: float, total: float) -> str:
    return f"{100 * seconds / total:.1f} %" if total > 0 else "–"


def _and(names: Sequence[str]) -> str:
    names = [name if name.startswith("the ") else f"the {name}" for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
