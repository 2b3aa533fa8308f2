"""The tables of a report: for a terminal (rich) and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from cycleqd.report.markdown import plain
from cycleqd.report.summary import PHASES, Comparison, Summary

PHASE_NAMES = {
    "train": "training",
    "generate": "generation",
    "sandbox": "sandbox",
    "merge": "merge and load",
    "other": "other",
}
"""What a reader calls the phases."""

NOTES = (
    "Scores are percentages: mean ± standard error over n samples.",
    "Where all n samples came out alike the standard error is 0, but the true score may be 3/n away.",
    "Differences are paired by sample; one within two standard errors may well be chance.",
    "The search chose elites and final weights by their scores on the optimization split: those scores are "
    "optimistic. The test split was never seen by the search.",
)
"""How to read the tables."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text: the first column is left-aligned, the others right-aligned.

    Attributes:
        emphasis: Numbers of the rows that stand out.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasis: frozenset[int] = frozenset()

    def to_rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        for number, name in enumerate(self.header):
            table.add_column(Text(name), justify="left" if number == 0 else "right", no_wrap=True)
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number in self.emphasis else "")
        return table

    def to_markdown(self) -> str:
        """As a Markdown table, without its title; whatever a cell holds is shown as it stands."""
        header, *rows = ([plain(cell) for cell in line] for line in (self.header, *self.rows))
        lines = [header, ["---" if n == 0 else "---:" for n in range(len(header))]]
        lines += [[f"**{c}**" if i in self.emphasis and c else c for c in row] for i, row in enumerate(rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row_name(row: str, summary: Summary) -> str:
    """What a reader calls a row; an elite's comes with its id."""
    kind, _, skill = row.partition(":")
    if kind == "expert":
        return f"{skill} expert"
    if kind == "elite":
        return f"{skill} elite ({summary.individuals[row]})"
    return {"base": "base model", "average": "average of experts", "cycleqd": "CycleQD"}[row]


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def score_table(summary: Summary, split: str) -> Grid:
    """Every row's score per skill on a split, with standard errors, and n in the head."""
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
            cells.append(f"{percent(score.score)} ± {percent(score.se)}" if score else "–")
        mean, se = summary.mean(split, row), summary.mean_se[split].get(row)
        cells.append(f"{percent(mean)} ± {percent(se)}" if mean is not None and se is not None else "–")
        lines.append((row_name(row, summary), *cells))
    final = frozenset(number for number, row in enumerate(rows) if row == "cycleqd")
    return Grid(f"Scores on the {split} split, %", (*header, "mean"), tuple(lines), final)


def comparison_table(summary: Summary, split: str) -> Grid:
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
    return Grid(
        f"Paired differences on the {split} split, percentage points",
        ("difference", "in", "± SE", "n", "verdict"),
        lines,
    )


def skill_comparison_table(summary: Summary, split: str) -> Grid:
    """CycleQD against every other row, skill by skill; an asterisk marks a clear difference."""
    columns = [*summary.skills, "mean"]
    found = {(item.against, item.skill): item for item in summary.comparisons if _final(item, split)}
    rows = [row for row in summary.rows if any((row, column) in found for column in columns)]
    lines = tuple(
        (f"− {row_name(row, summary)}", *(_starred(found.get((row, column))) for column in columns)) for row in rows
    )
    title = f"CycleQD minus each other model on the {split} split, points ± SE (* beyond two SE)"
    return Grid(title, ("CycleQD", *columns), lines)


def time_table(summary: Summary) -> Grid:
    """Where the wall-clock time went."""
    total = summary.wall_seconds["total"]
    lines = [
        (PHASE_NAMES[phase], duration(seconds := summary.wall_seconds[phase]), _share(seconds, total))
        for phase in PHASES
    ]
    return Grid(
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
    text += f" (± {percent(summary.mean_se['test']['cycleqd'])})"
    if beaten:
        text += f", above {_and(beaten)}"
    if others:
        text += f"{', but' if beaten else ','} not above {_and(others)}"
    text += "."
    if unclear:
        text += f" Within two standard errors: the difference{'s' if len(unclear) > 1 else ''} to {_and(unclear)}."
    if summary.aggregated_after is not None and summary.aggregated_after != summary.generations:
        text += f" The final model dates from generation {summary.aggregated_after}: the search has gone on since."
    return text


def signed(item: Comparison) -> str:
    """A difference in percentage points with its standard error."""
    return f"{100 * item.difference:+.1f} ± {percent(item.se)}".replace("-", "−")


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
    names = [f"the {name}" for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
