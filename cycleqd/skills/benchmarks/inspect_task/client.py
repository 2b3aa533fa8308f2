"""The processes that run inspect_ai, started when needed and kept for the next evaluation."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from cycleqd.skills.benchmarks.inspect_task.worker import main

PYTHON_VARIABLE: Final = "CYCLEQD_INSPECT_PYTHON"
"""Environment variable that names the Python interpreter of an environment that has inspect_ai."""
INSTALL: Final = "pip install 'cycleqd[inspect]'"
_STARTED_FROM: Final = Path(__file__).resolve().parents[4]
"""The folder that has the package `cycleqd`."""
_KEPT: Final = 4
"""Processes that wait for work, at most."""
_TOLD: Final = 400
"""Characters of a process' last words that are repeated."""

Event = Mapping[str, Any]


class InspectFailed(ConnectionError):
    """The process that runs inspect_ai ended, or takes too long. The work is to be retried."""


class Worker:
    """One process that runs inspect_ai.

    Attributes:
        hear: Is told every event, in a thread of this worker's; an event ``ended`` is the last.
    """

    def __init__(self) -> None:
        self.hear: Callable[[Event], None] = lambda _: None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the process
        path = os.pathsep.join(filter(None, [str(_STARTED_FROM), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603 -- our own module, by the user's interpreter
            [python(), "-m", main.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
            # The order of sets, and what is drawn from it, is then the same every time.
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "INSPECT_DISPLAY": "none"},
            start_new_session=True,  # an interrupt is for this process, which decides what becomes of the other
        )
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it takes commands."""
        return self._process.poll() is None

    def send(self, command: Mapping[str, Any]) -> None:
        """Sends a command; one to a process that has ended is lost, as its last event says."""
        try:
            with self._sending:
                stream = self._process.stdin
                if stream is not None:
                    stream.write(json.dumps(command) + "\n")
                    stream.flush()
        except (BrokenPipeError, ValueError):
            pass

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The end of what it said on standard error, in one line."""
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - 4 * _TOLD))
        return " ".join(self._words.read().decode(errors="replace").split())[-_TOLD:]

    def _listen(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self.hear(json.loads(line))
        self._process.wait()
        self.hear({"what": "ended", "text": self.last_words()})


def python() -> str:
    """The interpreter that has inspect_ai."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


class _Pool:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._pid = os.getpid()
        atexit.register(self._close)

    def take(self) -> Worker:
        with self._lock:
            if self._pid != os.getpid():  # a forked child inherits the list, but not the processes
                self._idle, self._pid = [], os.getpid()
            while self._idle:
                if (worker := self._idle.pop()).alive:
                    return worker
        return Worker()

    def give_back(self, worker: Worker) -> None:
        worker.hear = lambda _: None
        with self._lock:
            if worker.alive and len(self._idle) < _KEPT:
                self._idle.append(worker)
                return
        worker.kill()

    def _close(self) -> None:
        if self._pid == os.getpid():
            for worker in self._idle:
                worker.kill()


workers: Final = _Pool()
"""The processes of this one; a user takes one and gives it back when it is idle again, or kills it."""


def ask(command: Mapping[str, Any], *, skill: str, seconds: float) -> Event:
    """Sends a command that has one answer, and waits for that.

    Args:
        command: The command.
        skill: For messages.
        seconds: How long to wait.

    Raises:
        DataUnavailable: There is no inspect_ai, or the task is at fault.
    """
    worker = workers.take()
    answers: list[Event] = []
    answered = threading.Event()

    def hear(event: Event) -> None:
        answers.append(event)
        answered.set()

    worker.hear = hear
    worker.send(command)
    if not answered.wait(seconds):
        worker.kill()
        raise DataUnavailable(f"{skill}: inspect_ai did not load the task within {seconds:.0f} s")
    (answer, *_) = answers
    if answer["what"] == "absent":
        worker.kill()
        raise DataUnavailable(absent(skill, answer["text"]))
    if answer["what"] == "ended":
        raise DataUnavailable(f"{skill}: the process that runs inspect_ai ended: {answer['text']}")
    workers.give_back(worker)
    if answer["what"] == "fault":
        raise DataUnavailable(f"{skill}: inspect_ai can't load {command['task']}: {answer['text']}")
    return answer


def absent(skill: str, text: str) -> str:
    """What to say where there is no inspect_ai."""
    return (
        f"{skill} needs inspect_ai ({text}): {INSTALL}, or name the Python interpreter of an environment that has it "
        f"in {PYTHON_VARIABLE}"
    )
