"""Commands that check a machine, start runs and print configurations."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from cycleqd.cli.common import INTERRUPTED, TERMINATED, UNFIT, ConfigArgument, SetOption, err, out
from cycleqd.cli.results import print_summary
from cycleqd.config import ConfigError, RunConfig, load_config
from cycleqd.machine.owner import end_orphans, mark_children
from cycleqd.run.store import RunStore

if TYPE_CHECKING:
    from cycleqd.preflight.checks import Check


def doctor(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Check that this machine has what a run needs; exit code 1 if not."""
    if not _preflight(load_config(config, tuple(overrides or ()))):
        raise typer.Exit(UNFIT)


def run(
    config: ConfigArgument = "demo",
    overrides: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the final tables.")] = False,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore",
            help="Measure scores anew that depend on something which has changed (a judge, an image, an engine); a "
            "search that was built on them begins again. Nothing is removed: they move to superseded/.",
        ),
    ] = False,
) -> None:
    """Run CycleQD from the base model to the report, or continue a run of the same name.

    What a run has finished is not repeated, so that a run that was stopped goes on where it was. It goes on only where
    new scores mean the same as those that it has: otherwise it says what changed.
    """
    settings = load_config(config, tuple(overrides or ()))
    if not _preflight(settings, only_faults=quiet):
        raise typer.Exit(UNFIT)
    end_orphans()
    mark_children()
    for name, value in PREFECT_SETTINGS.items() | ({("PREFECT_LOGGING_LEVEL", "WARNING")} if quiet else set()):
        os.environ.setdefault(name, value)
    # Without --rescore: what was set aside is set aside.
    again = shlex.join(["cycleqd", "run", config, *(part for pair in overrides or () for part in ("--set", pair))])
    signal.signal(signal.SIGTERM, _terminate)
    with _checkout_importable():
        from flows.main import cycleqd_run

        try:
            with _admitted(settings, rescore=rescore):
                _start_server()
                cycleqd_run(settings)  # what was to be set aside is set aside by now
        except Terminated:
            err.print(Text("Terminated. What was finished is kept; continue with:", style="yellow"))
            err.print(Text(f"  {again}"), soft_wrap=True)
            raise typer.Exit(TERMINATED) from None
        except KeyboardInterrupt:
            err.print(Text("Stopped. What was finished is kept; continue with:", style="yellow"))
            err.print(Text(f"  {again}"), soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    from cycleqd.report.write import read_summary

    store = RunStore(settings.storage, settings.run_id)
    print_summary(read_summary(store), store)


def print_config(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Print a configuration in full, every default included, as YAML."""
    sys.stdout.write(load_config(config, tuple(overrides or ())).to_yaml())


def _preflight(config: RunConfig, *, only_faults: bool = False) -> bool:
    """Checks the machine and prints what was found; says whether the run can go ahead."""
    from cycleqd.preflight.checks import check

    with err.status("Checking this machine"):
        checks: list[Check] = check(config)
    fit = all(item.ok for item in checks)
    shown = [item for item in checks if not item.ok] if only_faults else checks
    if shown:
        out.print(_checks_table(shown))
    if not fit:
        err.print(Text("This machine is not ready for the run; mend what is marked above.", style="bold red"))
    return fit


def _checks_table(checks: list[Check]) -> Table:
    """What the preflight found, and what to do about it."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "check", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for item in checks:
        mark = Text("ok", style="green") if item.ok else Text("FAULT", style="bold red")
        table.add_row(mark, Text(item.name), Text(item.detail), Text(item.remedy, style="" if item.ok else "yellow"))
    return table


PREFECT_SETTINGS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cycleqd",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the server's automation takes a longer silence for a crash
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 are too few on a busy machine
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A temporary server schedules and automates nothing; these services only compete for its SQLite file.
    **{
        f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
        for service in ("EVENT_PERSISTER", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")
    },
}
"""Environment that a run prefers, read when Prefect is imported; the user's own settings win."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): by a service manager, a batch system or a user's `kill`."""


def _terminate(*_: object) -> None:
    # Once is enough: while the run ends in an orderly way, a second one must not cut that short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


@contextmanager
def _admitted(config: RunConfig, *, rescore: bool) -> Iterator[None]:
    """Holds the run from before Prefect is there, so that a refusal is one line of ours.

    Raises:
        StoreError: The run is locked, damaged, or was begun with something else; or its storage fails.
    """
    from cycleqd.run.names import RunRef
    from cycleqd.steps.admission import admit
    from cycleqd.steps.workspace import opened

    RunStore(config.storage, config.run_id).open(config, rescore=rescore)
    with opened(RunRef(run_id=config.run_id, storage=config.storage)) as ws:
        if rescore:
            ws.adopt(config, rescore=True)
        admit(ws, rescore=rescore)
        yield


def _start_server() -> None:
    """Starts Prefect's temporary server, unless another one is configured, such that no signal to the run ends it.

    A terminal interrupts all processes of a command, a service manager terminates them. Without its server, a run
    could not end in an orderly way. The server ends with this process; only a kill -9 leaves it to the next start.
    """
    from prefect.client.orchestration import get_client

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # which children inherit
    try:
        get_client(sync_client=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.register(_end_server)  # after Prefect's own, and so called ahead of it


def _end_server() -> None:
    """Ends the temporary server, which hears no other signal; what it was told is in its database by then."""
    from prefect.server.api.server import SubprocessASGIServer

    for server in SubprocessASGIServer._instances.values():
        if server.server_process is not None:
            server.server_process.kill()


@contextmanager
def _checkout_importable() -> Iterator[None]:
    """Lets `flows` and `tasks` be imported: they lie beside the package in a checkout and are not installed.

    Raises:
        ConfigError: The package does not lie in a checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "flows" / "main.py").is_file():
        raise ConfigError("flows/ is missing beside the package: runs start from a checkout (pip install -e .)")
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
