from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from prefect.task_engine import TaskRunTimeoutError

from cycleqd.config import TaskConfig
from cycleqd.evaluation.rounds import RoundBroken
from cycleqd.faults import MendableFault
from tasks.scoring import ScoringHere


class Failed:
    """The future of an evaluation that has failed."""

    def __init__(self, fault):
        self._fault = fault

    def wait(self):
        pass

    def result(self, raise_on_failure=True):
        if raise_on_failure:
            raise self._fault
        return self._fault


def test_an_evaluation_that_takes_too_long_is_named_with_the_setting_to_raise():
    workspace = SimpleNamespace(config=SimpleNamespace(tasks=TaskConfig(timeout_seconds=0.5)))
    futures = {
        "os": Failed(RoundBroken("another skill's evaluation failed")),
        "db": Failed(TaskRunTimeoutError("Scope timed out after 0.5 second(s).")),
    }
    scoring = ScoringHere(workspace, "g0003", futures, ExitStack())
    with pytest.raises(MendableFault, match=r"of g0003 on db took longer than 0\.5 s: raise tasks\.timeout_seconds"):
        scoring.result()
