"""Evaluators in processes of this machine, with a real engine."""

import os
import signal
import time

import pytest

from cycleqd.evaluators.answers import EvaluationFailed
from cycleqd.evaluators.processes import ProcessEvaluators
from cycleqd.evaluators.protocol import ATTEMPTS, EvaluatorLost
from tests.evaluators.conftest import evolve

PATIENCE = 300.0


@pytest.fixture
def processes(run):
    evaluators = ProcessEvaluators(run, count=2, threads=1)
    yield evaluators
    evaluators.close()


def wait_for_a_process(evaluators, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not (living := list(evaluators.processes.values())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return living[0]


def test_the_archives_are_those_of_one_evaluator_also_when_one_is_killed_over_a_child(alone, run, processes):
    killed, waiting = [], []

    def submit(ws, individual, part):
        future = processes.submit(individual, part)
        waiting.append(future)
        if not killed:
            killed.append(wait_for_a_process(processes))
            os.kill(killed[0], signal.SIGKILL)
        return lambda: future.result(PATIENCE)

    assert evolve(run, submit) == alone
    outcomes = [future.result() for future in waiting]
    assert {outcome.evaluator for outcome in outcomes} == {"process-0", "process-1"}
    assert all(len(outcome.evaluated) == 2 for outcome in outcomes)
    assert all(outcome.split.decode > 0 and outcome.split.transfer > 0 for outcome in outcomes)
    assert killed[0] not in processes.processes.values()


def test_a_child_that_kills_every_evaluator_is_given_up(run, monkeypatch):
    evaluators = ProcessEvaluators(run, count=1, threads=1)
    monkeypatch.setattr(evaluators, "_start", start_of("import sys; sys.stdin.readline(); sys.exit(9)"))
    try:
        future = evaluators.submit("g0000", "optimization")
        with pytest.raises(EvaluatorLost, match=f"{ATTEMPTS} evaluators died while they scored g0000"):
            future.result(PATIENCE)
    finally:
        evaluators.close()


def start_of(code):
    import subprocess
    import sys

    def start(place):
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


def test_a_fault_that_would_repeat_itself_comes_with_its_traceback(processes):
    with pytest.raises(EvaluationFailed, match=r"no-such-individual"):
        processes.submit("no-such-individual", "optimization").result(PATIENCE)


def test_closing_ends_the_processes_and_what_waits(run):
    evaluators = ProcessEvaluators(run, count=1, threads=1)
    waiting = [evaluators.submit(f"expert-{name}", "test") for name in ("x", "y", "z")]
    pid = wait_for_a_process(evaluators)
    evaluators.close()
    assert not os.path.exists(f"/proc/{pid}")
    for future in waiting:
        with pytest.raises(BaseException):  # noqa: B017, PT011 -- cancelled, stopped, or failed before
            future.result(PATIENCE)
    evaluators.close()
    with pytest.raises(RuntimeError, match="closed"):
        evaluators.submit("base", "optimization")


def test_devices_are_one_for_each_process(run):
    with pytest.raises(ValueError, match="2 processes need as many devices, got 1"):
        ProcessEvaluators(run, count=2, threads=1, devices=["0"])
