"""Processes in the background that outlive the command that started them: pid files, logs, an orderly end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_TEMPORARY = "cqw-"  # short: sockets lie below, and their paths are limited

GRACE_SECONDS = 40.0
"""Time for an orderly end. Postgres writes its last pages, a worker's runs remove their containers."""


@dataclass(frozen=True, slots=True)
class Service:
    """One background process.

    Attributes:
        name: Names its pid file and its log.
        state: Folder of ``pids/`` and ``logs/``.
    """

    name: str
    state: Path

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.state / "logs" / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.state / "pids" / f"{self.name}.json"

    def process(self) -> psutil.Process | None:
        """The process, if it runs. A pid that now belongs to another process does not count."""
        try:
            noted = json.loads(self._pid_file.read_text())
            process = psutil.Process(noted["pid"])
            same = process.create_time() == noted["started"] and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process if same else None

    def start(self, command: Sequence[str], *, env: Mapping[str, str], folder: Path) -> bool:
        """Starts it unless it runs already.

        Returns:
            Whether it was started now.
        """
        if self.process():
            return False
        for parent in (self.log.parent, self._pid_file.parent):
            parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - the caller's own command
                command,
                cwd=folder,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is not meant for it
                preexec_fn=_hear_interrupts,
            )
        started = psutil.Process(child.pid).create_time()
        self._pid_file.write_text(json.dumps({"pid": child.pid, "started": started}))
        return True

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Waits until `ready` says so.

        Raises:
            RuntimeError: The process ended first, or the time ran out; the text has the end of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return
            if self.process() is None:
                break
            time.sleep(0.5)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{self.name} did not come up within {seconds:g} s; the end of {self.log}:\n{tail}")

    def stop(self) -> bool:
        """Ends it and all that it started; those that do not go in time are killed.

        Returns:
            Whether it ran.
        """
        process = self.process()
        if process:
            family = [process, *process.children(recursive=True)]
            for member in family:
                _quietly(member.terminate)
            _, stubborn = psutil.wait_procs(family, timeout=GRACE_SECONDS)
            for member in stubborn:
                _quietly(member.kill)
        self._pid_file.unlink(missing_ok=True)
        return process is not None


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def refuse_anothers_port(service: Service, port: int) -> None:
    """Makes sure that what will answer on `port` is `service`.

    Raises:
        RuntimeError: The service does not run, and something else listens there.
    """
    if service.process() is None and listens(port):
        raise RuntimeError(f"something else listens on port {port}, which {service.name} needs: set CYCLEQD_PORT")


# Not that of cycleqd.machine.owner, which belongs to the process that asks: `make up` ends, and its services live on.
def temporary_folder() -> Path:
    """A ``TMPDIR`` for a service and its children, after those of services that are gone were removed."""
    remove_unused_temporary_folders()
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY))


def remove_unused_temporary_folders() -> None:
    """Removes what killed services left: folders that are no living process' ``TMPDIR``."""
    used = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # another user's, or gone by itself
            used.add(process.environ().get("TMPDIR"))
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        if str(folder) not in used:
            shutil.rmtree(folder, ignore_errors=True)


def _hear_interrupts() -> None:
    # What a shell starts in the background ignores interrupts, and so would its children: a Prefect worker ends itself
    # with one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _quietly(act: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):  # gone by itself
        act()
