"""Processes that a test starts, and those that somebody started, found by what they inherited."""

import signal
import subprocess
from contextlib import suppress

import psutil


def processes_with(variable, value):
    """Living processes with that environment variable."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone by itself
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def started_apart(command, log, *, cwd, env):
    """A process in a session of its own, which signals reach as they would from a terminal; it writes to a file."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell that starts tests in the background has them ignore interrupts, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
