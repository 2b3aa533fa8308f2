"""Evaluators as processes of this machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from cycleqd.evaluators.answers import outcome_of, request
from cycleqd.evaluators.dispatch import Died, Dispatch
from cycleqd.evaluators.environment import of_imports, of_threads
from cycleqd.evaluators.protocol import Outcome
from cycleqd.run.names import RunRef
from cycleqd.skills.parts import Part

_CLOSING_SECONDS: Final = 20.0
"""For an evaluator to end by itself and remove its containers; then it is killed."""

log = logging.getLogger(__name__)


class ProcessEvaluators:
    """A fixed number of processes, started when they are first needed and again when they died.

    Args:
        run: The run; the processes open its storage themselves.
        count: Processes, at least 1.
        threads: Threads that each engine computes with, at least 1.
        devices: What each process sees of the GPUs, as for ``CUDA_VISIBLE_DEVICES``; one each, or empty to leave
            that as it is.
    """

    def __init__(self, run: RunRef, *, count: int, threads: int, devices: Sequence[str] = ()) -> None:
        if devices and len(devices) != count:
            raise ValueError(f"{count} processes need as many devices, got {len(devices)}")
        self._run = run
        self._threads = threads
        self._devices = tuple(devices)
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        advice = "-9 is mostly a lack of memory: lower evaluators.count or engine.kv_cache_gb"
        self._dispatch = Dispatch(run.run_id, "process", count, self._score, advice=advice)

    @property
    def processes(self) -> dict[int, int]:
        """The ids of the living processes, by place."""
        with self._lock:
            return {place: process.pid for place, process in self._processes.items() if process.poll() is None}

    def submit(self, individual: str, part: Part) -> Future[Outcome]:
        """See `Evaluators.submit`.

        Raises:
            RuntimeError: They are closed.
        """
        return self._dispatch.submit(individual, part)

    def close(self) -> None:
        """See `Evaluators.close`."""
        if not self._dispatch.stop():
            return
        with self._lock:
            processes = list(self._processes.values())
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # which ends it
        for process in processes:
            try:
                process.wait(_CLOSING_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("evaluator %d of run %s did not end and is killed", process.pid, self._run.run_id)
                process.kill()
                process.wait()
        self._dispatch.join()

    def _score(self, place: int, individual: str, part: Part) -> Outcome:
        return outcome_of(_asked(self._living(place), request(self._run, individual, part)))

    def _living(self, place: int) -> subprocess.Popen[str]:
        with self._lock:
            self._dispatch.check_running()
            process = self._processes.get(place)
            if process is None or process.poll() is not None:
                process = self._processes[place] = self._start(place)
            return process

    def _start(self, place: int) -> subprocess.Popen[str]:
        environment = os.environ | of_threads(self._threads) | of_imports()
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[place]
        command = [sys.executable, "-m", "cycleqd.evaluators.worker", f"process-{place}"]
        return subprocess.Popen(  # noqa: S603 -- ourselves
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )


def _asked(process: subprocess.Popen[str], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a process; waits for it."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    try:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except (OSError, ValueError):  # a broken pipe, or one that `close` closed
        line = ""
    if not line.endswith("\n"):
        raise Died(f"exit status {process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer
