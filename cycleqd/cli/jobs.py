"""Runs of an experiment side by side, each as a process of its own (`cycleqd experiment --jobs`)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cycleqd.cli.common import DEFAULT_STORAGE, err
from cycleqd.cli.playing import Terminated
from cycleqd.experiment.plan import ExperimentConfig, PlannedRun, planned_runs
from cycleqd.experiment.schedule import Schedule
from cycleqd.machine.owner import end_orphans, temporary_folder

ENTRY: tuple[str, ...] = (sys.executable, "-P", "-m", "cycleqd.cli")
"""How a job is started: by this interpreter, without what lies in the working directory."""
DATABASE: Final = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_POLL_SECONDS: Final = 0.2


class _Job(NamedTuple):
    """A run that is being played."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    log: Path
    began: float


def play_side_by_side(
    experiment: ExperimentConfig, jobs: int, restricted: Sequence[str], out_folder: Path | None
) -> list[str]:
    """Plays all runs of an experiment in processes of their own; returns a line for each that was not finished.

    A signal to this process ends the others in an orderly way, and this one waits for them; further ones are ignored
    meanwhile.

    Args:
        experiment: The plan.
        jobs: Runs at a time.
        restricted: Arguments of `cycleqd experiment` to which a run's method and seed are added.
        out_folder: Where the logs go; None puts them beside the runs.

    Raises:
        KeyboardInterrupt: This process was interrupted.
        Terminated: It was asked to end.
    """
    from cycleqd.experiment.siblings import finished, siblings  # not above: `--help` needs no storage

    planned = list(planned_runs(experiment))
    ready = {seed for seed in experiment.seeds if finished(siblings(experiment, seed))}
    schedule = Schedule(planned, jobs, ready)
    logs = _folder_of_logs(experiment, out_folder)
    err.print(Text(f"{len(planned)} runs, up to {jobs} side by side; each writes to {logs}/<run>.log"), soft_wrap=True)
    unfinished: list[str] = []
    with _scratch() as scratch, _noted_signals() as asked, _bar(len(planned)) as bar, _ended_together() as playing:
        while not schedule.is_over and not asked:
            while (run := schedule.begin()) is not None and not asked:
                playing.append(_begun(run, restricted, logs, scratch))
            for job in [job for job in playing if job.process.poll() is not None]:
                playing.remove(job)
                status = _told(job)
                schedule.end(job.run, well=status == 0)
                if status:
                    unfinished.append(f"{job.run.config.run_id} (exit code {status}, {job.log})")
                    end_orphans()  # one that was killed leaves its server
                bar.advance(bar.task_ids[0])
            time.sleep(_POLL_SECONDS)
        if asked and playing:
            names = ", ".join(job.run.config.run_id for job in playing)
            err.print(Text(f"ending {names}; this takes a moment", style="yellow"), soft_wrap=True)
    if asked:
        raise KeyboardInterrupt if asked[0] == signal.SIGINT else Terminated
    return unfinished


def end_with_starter() -> None:
    """Lets this process end in an orderly way when the one that started it is gone, be it by a kill -9.

    Its standard input is a pipe of the starter's, which ends then.
    """

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock would be held at this process' own end
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end with starter", daemon=True).start()


def _begun(run: PlannedRun, restricted: Sequence[str], logs: Path, scratch: Path) -> _Job:
    run_id = run.config.run_id
    path = logs / f"{run_id}.log"
    command = [*ENTRY, "experiment", *restricted, "--methods", run.method, "--seeds", str(run.seed), "--as-job"]
    environment = dict(os.environ)
    # The package may lie in a checkout.
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    # Temporary servers that share Prefect's one SQLite file would wait for each other.
    environment.setdefault(DATABASE, f"sqlite+aiosqlite:///{scratch / run_id}.db")
    with path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 -- ourselves
            command,
            env=environment,
            stdin=subprocess.PIPE,  # whose end it sees: `end_with_starter`
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who end it once
        )
    err.print(Text(f"begun: {run_id}"), soft_wrap=True)
    return _Job(run, process, path, time.monotonic())


def _told(job: _Job) -> int:
    """Says how a run ended; returns its exit code."""
    status, run_id = _waited_for(job), job.run.config.run_id
    minutes = f"after {(time.monotonic() - job.began) / 60:.1f} minutes"
    if status:
        err.print(Text(f"FAILED: {run_id} {minutes}, see {job.log}", style="bold red"), soft_wrap=True)
    else:
        err.print(Text(f"finished: {run_id} {minutes}", style="green"), soft_wrap=True)
    return status


@contextmanager
def _ended_together() -> Iterator[list[_Job]]:
    """A list of jobs; those that still run when the block ends are asked to end, each once, and waited for."""
    jobs: list[_Job] = []
    try:
        yield jobs
    finally:
        for job in jobs:
            job.process.terminate()
        for job in jobs:
            _waited_for(job)


def _waited_for(job: _Job) -> int:
    status = job.process.wait()
    if job.process.stdin is not None:
        job.process.stdin.close()
    return status


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = temporary_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """The signals that asked this process to end, in the block; they do nothing else there."""
    noted: list[int] = []
    # What is ignored stays so: a shell starts what it has in the background like that.
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(total: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    bar.add_task("runs", total=total)
    return bar


def _folder_of_logs(experiment: ExperimentConfig, out_folder: Path | None) -> Path:
    """`out_folder`, or else the runs' own where that is a folder of this machine."""
    place = DEFAULT_STORAGE if "://" in experiment.storage else experiment.storage
    folder = out_folder or Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
