"""Commands that check a machine, start runs and print configurations."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cycleqd.cli.common import UNFIT, ConfigArgument, SetOption, err, out
from cycleqd.cli.playing import playing, server
from cycleqd.cli.results import print_summary
from cycleqd.cli.tables import print_table
from cycleqd.config import RunConfig, load_config

if TYPE_CHECKING:
    from cycleqd.preflight.finding import Check


def doctor(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Check that this machine has what a run needs; exit code 1 if not."""
    if not preflight(load_config(config, tuple(overrides or ()))):
        raise typer.Exit(UNFIT)


def run(
    config: ConfigArgument = "demo",
    overrides: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the final tables.")] = False,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore",
            help="If a judge, an image, an engine or the like has changed, measure the old scores anew instead of "
            "refusing to continue. A search that was built on them begins again. Nothing is removed: the old scores "
            "move to superseded/.",
        ),
    ] = False,
) -> None:
    """Run CycleQD from the base model to the report, or continue a run of the same name.

    A run that was stopped continues where it was; finished work is not repeated. If new scores would not mean the same
    as the old ones, it refuses to continue and says what changed.
    """
    settings = load_config(config, tuple(overrides or ()))
    if not preflight(settings, only_faults=quiet):
        raise typer.Exit(UNFIT)
    # Without --rescore: what was set aside is set aside.
    again = shlex.join(["cycleqd", "run", config, *(part for pair in overrides or () for part in ("--set", pair))])
    with playing(again, quiet=quiet):
        from flows.main import cycleqd_run

        with _admitted(settings, rescore=rescore), server():
            cycleqd_run(settings)  # what was to be set aside is set aside by now
    from cycleqd.report.write import read_summary
    from cycleqd.run.store import RunStore

    store = RunStore(settings.storage, settings.run_id)
    print_summary(read_summary(store), store)


def print_config(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Print a configuration in full, every default included, as YAML."""
    sys.stdout.write(load_config(config, tuple(overrides or ())).to_yaml())


def preflight(config: RunConfig, *, only_faults: bool = False) -> bool:
    """Checks the machine and prints what was found; says whether the run can go ahead."""
    from cycleqd.preflight.checks import check

    with err.status("Checking this machine"):
        checks: list[Check] = check(config)
    fit = all(item.ok for item in checks)
    shown = [item for item in checks if not item.ok] if only_faults else checks
    if shown:
        _show_checks(shown)
    if not fit:
        err.print(Text("This machine is not ready for the run; mend what is marked above.", style="bold red"))
    return fit


def _show_checks(checks: list[Check]) -> None:
    """What the preflight found, and what to do about it."""
    rows = [
        (
            Text("ok", style="green") if item.ok else Text("FAULT", style="bold red"),
            item.name,
            Text(item.detail),
            Text(item.remedy, style="" if item.ok else "yellow"),
        )
        for item in checks
    ]
    print_table(out, ("", "check", "found", "what to do"), rows, prose=(2, 3), left=(1,))


@contextmanager
def _admitted(config: RunConfig, *, rescore: bool) -> Iterator[None]:
    """Holds the run from before Prefect is there, so that a refusal is one line of ours.

    Raises:
        StoreError: The run is locked, damaged, or was begun with something else; or its storage fails.
    """
    from cycleqd.run.names import RunRef
    from cycleqd.run.store import RunStore
    from cycleqd.steps.admission import admit
    from cycleqd.steps.workspace import opened

    RunStore(config.storage, config.run_id).open(config, rescore=rescore)
    with opened(RunRef(run_id=config.run_id, storage=config.storage)) as ws:
        if rescore:
            ws.adopt(config, rescore=True)
        admit(ws, rescore=rescore)
        yield
