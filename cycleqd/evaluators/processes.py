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
from dataclasses import dataclass, field
from itertools import count as numbers
from pathlib import Path
from queue import PriorityQueue
from typing import Any, Final

from cycleqd.evaluation.rounds import EvaluationStopped
from cycleqd.evaluators.protocol import ATTEMPTS, EvaluatorLost, Outcome
from cycleqd.run.names import RunRef
from cycleqd.sandbox import SandboxUnavailable
from cycleqd.skills.parts import Part
from cycleqd.telemetry.events import event

_CLOSING_SECONDS: Final = 45.0
"""For an evaluator to end by itself and remove its containers; then it is killed."""
_RETRIED: Final[Mapping[str, type[Exception]]] = {
    f"{kind.__module__}:{kind.__qualname__}": kind for kind in (SandboxUnavailable, ConnectionError, TimeoutError)
}
"""Faults of an evaluator that whoever waits may try again."""

log = logging.getLogger(__name__)


class EvaluationFailed(RuntimeError):
    """An evaluator met a fault that would only repeat itself; the text has its traceback."""


@dataclass(order=True, slots=True)
class _Job:
    """A child to be scored; earlier ones come first, also when they come again."""

    number: int
    individual: str = field(compare=False)
    part: Part = field(compare=False)
    future: Future[Outcome] = field(compare=False, default_factory=Future)
    deaths: list[str] = field(compare=False, default_factory=list)


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
        self._jobs: PriorityQueue[_Job] = PriorityQueue()
        self._numbers = numbers()
        self._lock = threading.Lock()
        self._closed = False
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._keepers = [
            threading.Thread(target=self._keep, args=(place,), name=f"evaluator-{place}", daemon=True)
            for place in range(count)
        ]
        for keeper in self._keepers:
            keeper.start()

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
        job = _Job(next(self._numbers), individual, part)
        with self._lock:
            if self._closed:
                raise RuntimeError("the evaluators are closed")
            self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """See `Evaluators.close`."""
        with self._lock:
            already, self._closed = self._closed, True
            processes = list(self._processes.values())
        if already:
            return
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # which ends it
        for _ in self._keepers:  # numbers below zero: ahead of all children
            self._jobs.put(_Job(-1, "", ""))
        for process in processes:
            try:
                process.wait(_CLOSING_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("evaluator %d of run %s did not end and is killed", process.pid, self._run.run_id)
                process.kill()
                process.wait()
        for keeper in self._keepers:
            keeper.join()
        while not self._jobs.empty():
            self._jobs.get().future.cancel()

    def _keep(self, place: int) -> None:
        """Gives one process its children."""
        while (job := self._jobs.get()).number >= 0:
            if job.deaths or job.future.set_running_or_notify_cancel():
                self._have_scored(place, job)

    def _have_scored(self, place: int, job: _Job) -> None:
        try:
            process = self._living(place)
            answer = _asked(process, {"individual": job.individual, "part": job.part, "run": self._run.model_dump()})
        except EvaluationStopped as error:
            job.future.set_exception(error)
        except _Died as death:
            self._after_death(place, job, str(death))
        except Exception as error:  # it could not be started
            job.future.set_exception(error)
        else:
            _settle(job.future, answer)

    def _after_death(self, place: int, job: _Job, how: str) -> None:
        with self._lock:
            closed = self._closed
        if closed:
            job.future.set_exception(EvaluationStopped("the run is being stopped"))
            return
        job.deaths.append(how)
        event("evaluator_lost", run=self._run.run_id, evaluator=f"process-{place}", individual=job.individual, how=how)
        if len(job.deaths) < ATTEMPTS:
            self._jobs.put(job)
            return
        job.future.set_exception(
            EvaluatorLost(
                f"{len(job.deaths)} evaluators died while they scored {job.individual} ({', '.join(job.deaths)}); "
                "-9 is mostly a lack of memory: lower evaluators.count or engine.kv_cache_gb"
            )
        )

    def _living(self, place: int) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise EvaluationStopped("the run is being stopped")
            process = self._processes.get(place)
            if process is None or process.poll() is not None:
                process = self._processes[place] = self._start(place)
            return process

    def _start(self, place: int) -> subprocess.Popen[str]:
        environment = os.environ | {name: str(self._threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[place]
        # As here: the package may lie in a checkout, and skills in files beside it.
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
        command = [sys.executable, "-m", "cycleqd.evaluators.worker", f"process-{place}"]
        return subprocess.Popen(  # noqa: S603 -- ourselves
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )


class _Died(Exception):
    """The process is no more; the text has its exit status."""


def _asked(process: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process; waits for it."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except (OSError, ValueError):  # a broken pipe, or one that `close` closed
        line = ""
    if not line.endswith("\n"):
        raise _Died(f"exit status {process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _settle(future: Future[Outcome], answer: dict[str, Any]) -> None:
    if fault := answer.get("fault"):
        kind = _RETRIED.get(fault["kind"])
        future.set_exception(kind(fault["text"]) if kind else EvaluationFailed(fault["trace"]))
    else:
        future.set_result(Outcome.model_validate(answer["outcome"]))
