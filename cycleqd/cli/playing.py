"""Playing flows from the command line: Prefect's settings, its temporary server, and an orderly end by signals."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer
from rich.text import Text

from cycleqd.cli.common import INTERRUPTED, TERMINATED, err
from cycleqd.config import ConfigError
from cycleqd.machine.owner import end_orphans, mark_children

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


def _end_undisturbed() -> None:
    """Ignores further signals: all that is left is short, and they would only break off what ends Prefect."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def playing(again: str, *, quiet: bool = False) -> Iterator[None]:
    """Lets the block import flows and play them; they are played in a `server`.

    Args:
        again: The command that continues what was interrupted, for the user.
        quiet: Whether flows log warnings only.

    Raises:
        typer.Exit: The block was interrupted or terminated; the user was told how to go on.
        ConfigError: The package does not lie in a checkout.
    """
    end_orphans()
    mark_children()
    for name, value in PREFECT_SETTINGS.items() | ({("PREFECT_LOGGING_LEVEL", "WARNING")} if quiet else set()):
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _terminate)
    with _checkout_importable():
        try:
            yield
        except Terminated:
            _end_undisturbed()
            err.print(Text("Terminated. What was finished is kept; continue with:", style="yellow"))
            err.print(Text(f"  {again}"), soft_wrap=True)
            raise typer.Exit(TERMINATED) from None
        except KeyboardInterrupt:
            _end_undisturbed()
            err.print(Text("Stopped. What was finished is kept; continue with:", style="yellow"))
            err.print(Text(f"  {again}"), soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def server() -> Iterator[None]:
    """Prefect's temporary server, unless another one is configured, started such that no signal to the run ends it.

    A terminal interrupts all processes of a command, a service manager terminates them. Without its server, a run
    could not end in an orderly way. The server ends with this process; only a kill -9 leaves it to the next start.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

    temporary = get_current_settings().api.url is None
    if temporary:
        from prefect.server.api.server import SubprocessASGIServer

        # Prefect takes one of a thousand ports, and does not see that another run's server came first.
        SubprocessASGIServer().port = _free_port()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # which children inherit
    try:
        get_client(sync_client=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.register(_end_server)  # after Prefect's own, and so called ahead of it
    with ExitStack() as stack:
        if temporary:
            # Nothing listens to heartbeats there, and at its end every flow waits a second for what sends them.
            stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        yield


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


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
