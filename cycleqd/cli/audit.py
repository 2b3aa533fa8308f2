"""The command that audits a skill's samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cycleqd.cli.common import UNFIT, err, out
from cycleqd.cli.tables import print_table
from cycleqd.config import ConfigError
from cycleqd.faults import hint
from cycleqd.skills.registry import BUILT_IN, SkillUnavailable, find, names

if TYPE_CHECKING:
    from cycleqd.evaluation.audit import Audit, Finding

SKILLS = f"{', '.join(BUILT_IN)}, a skill of an installed package, or module:Class."
LISTED = 40
"""Rows of a table on the terminal; the JSON has all."""


def audit(
    name: Annotated[str, typer.Argument(metavar="SKILL", help=SKILLS)],
    data: Annotated[
        str | None, typer.Option(help="A benchmark's file or folder. [default: $CYCLEQD_DATA_DIR, else a download]")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was found to this file.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Leave a benchmark's sample out. Repeatable.")
    ] = None,
    exclude_file: Annotated[
        Path | None, typer.Option(help="Leave samples out: ids, one a line, or an audit's JSON.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if anything is broken or cheated.")] = False,
) -> None:
    """Play gold solutions, silence and cheats over every sample; say which are solvable, broken, skipped, and why."""
    if ":" not in name and name not in names():
        raise ConfigError(f"no skill is called {name!r}{hint(name, list(names()), '')}")
    try:
        find(name)
    except SkillUnavailable as error:
        raise ConfigError(str(error)) from None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from cycleqd.evaluation.audit import audit as play_audit
    from cycleqd.evaluation.audit import default_counts
    from cycleqd.skills.benchmarks.benchmark import Source, exclusions

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"Episodes of {name}", total=None)
        found = play_audit(
            name,
            source=Source(data=data, excluded=exclusions(exclude or (), exclude_file)),
            counts=default_counts(name),
            started=lambda total: progress.update(bar, total=total),
            advanced=lambda: progress.advance(bar),
        )
    _show(found)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        out.print(f"Written to {json}.", soft_wrap=True)
    if strict and (found.broken or found.cheated):
        raise typer.Exit(UNFIT)


def _show(found: Audit) -> None:
    rows: list[tuple[str, object]] = [
        ("samples played", found.n),
        ("gold solution passes", found.oracle_passed),
        ("empty agent passes", found.empty_passed),
        ("cheats pass", len(found.cheated)),
        ("broken", len(found.broken)),
        ("skipped", len(found.skipped)),
        ("seconds", found.seconds),
    ]
    if found.data_sha256:
        rows += [("data", f"{found.data_version or 'no version'}, sha256 {found.data_sha256[:16]}")]
        rows += [
            (f"stratum {stratum}", ", ".join(f"{split} {count}" for split, count in row.items()))
            for stratum, row in found.splits.items()
        ]
    cells = [(fact, str(value)) for fact, value in rows]
    print_table(out, ("fact", "value"), cells, title=f"Audit of {found.skill}", prose=(1,))
    _list("Broken", found.broken)
    _list("Solved by a cheat", found.cheated)
    _list("Skipped", found.skipped)


def _list(title: str, findings: list[Finding]) -> None:
    if not findings:
        return
    cells = [(finding.id, finding.reason) for finding in findings[:LISTED]]
    print_table(out, ("sample", "why"), cells, title=f"{title} ({len(findings)})", prose=(1,))
    if len(findings) > LISTED:
        out.print(f"... and {len(findings) - LISTED} more; --json writes all.")
