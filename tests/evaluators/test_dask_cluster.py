"""Evaluators as workers of a local Dask cluster, with a real engine."""

import os
import signal

import pytest

from cycleqd.evaluators.dask_cluster import DaskEvaluators
from cycleqd.evaluators.protocol import EvaluatorsMissing
from tests.evaluators.conftest import evolve

PATIENCE = 600.0


def test_without_its_package_the_install_command_is_told(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(EvaluatorsMissing, match=r"pip install 'cycleqd\[dask\]'"):
        DaskEvaluators(run, count=1, threads=1)


def test_the_archives_are_those_of_one_evaluator_also_when_a_worker_is_killed_over_a_child(alone, run):
    pytest.importorskip("distributed", reason="pip install 'cycleqd[dask]'")
    evaluators = DaskEvaluators(run, count=2, threads=1)
    try:
        before = evaluators._client.run(os.getpid)
        waiting = []

        def submit(ws, individual, part):
            future = evaluators.submit(individual, part)
            waiting.append(future)
            if len(waiting) == 1:
                holders = []
                while not holders and not future.done():
                    holders = [worker for worker, keys in evaluators._client.processing().items() if keys]
                if holders:
                    os.kill(before[holders[0]], signal.SIGKILL)
            return lambda: future.result(PATIENCE)

        assert evolve(run, submit) == alone
        assert evaluators._client.run(os.getpid) != before  # one was started again
        outcomes = [future.result() for future in waiting]
        assert all(outcome.evaluator.startswith("dask ") for outcome in outcomes)
        # Its engine is there already, and the weights in it change.
        with pytest.raises(Exception, match="no-such-individual"):
            evaluators.submit("no-such-individual", "optimization").result(PATIENCE)
    finally:
        evaluators.close()
    evaluators.close()
