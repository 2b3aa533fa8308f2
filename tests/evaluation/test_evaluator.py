"""Scoring from several processes; the model is random, everything else is real."""

import subprocess
import sys

import pytest

from cycleqd import steps
from cycleqd.evaluation.evaluator import evaluator
from cycleqd.report import write_report
from cycleqd.run.lease import current_lease
from cycleqd.run.names import RunRef
from cycleqd.run.records import Phases
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from cycleqd.steps.workspace import opened
from tests.steps.small_run import begin, make_experts, next_generation, score

pytestmark = [pytest.mark.docker]

GENERATIONS = 3

OTHER = """
import sys
from cycleqd.evaluation.evaluator import evaluator
from cycleqd.report import write_report
from cycleqd.run.names import RunRef
from tests.steps.small_run import score

with evaluator(RunRef(run_id=sys.argv[1], storage=sys.argv[2])) as opened:
    print("ready", flush=True)
    for line in sys.stdin:
        score(opened, *line.split())
        print("done", flush=True)
"""


class OtherProcess:
    """An evaluator without the lease, told line by line whom to score."""

    def __init__(self, run):
        command = [sys.executable, "-c", OTHER, run.run_id, run.storage]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def begin(self, individual, part):
        self._process.stdin.write(f"{individual} {part}\n")
        self._process.stdin.flush()

    def wait(self):
        assert self._process.stdout.readline() == "done\n"

    def close(self):
        self._process.stdin.close()
        assert self._process.wait() == 0


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    run = begin(folder, "alone", generations=GENERATIONS)
    with opened(run) as ws:
        for individual in make_experts(ws):
            score(ws.evaluator, individual, "optimization")
        steps.seed_archives(ws)
        for _ in range(GENERATIONS):
            next_generation(ws)
    return RunStore(run.storage, run.run_id)


def test_children_scored_by_two_processes_at_the_same_time_give_the_archives_of_one(alone, tmp_path, no_figures):
    run = begin(tmp_path, "shared", generations=GENERATIONS)
    store = RunStore(run.storage, run.run_id)
    with opened(run) as ws:
        first, *others = make_experts(ws)
        helper = OtherProcess(run)
        try:
            assert current_lease(store) == ws.lease.record  # of this process alone
            score(ws.evaluator, first, "optimization")
            for mine, theirs in zip(others[::2], others[1::2], strict=True):
                helper.begin(theirs, "optimization")
                score(ws.evaluator, mine, "optimization")
                helper.wait()
            steps.seed_archives(ws)
            for generation in range(GENERATIONS):
                steps.breed(ws, generation)
                asked = steps.asked(ws, generation)
                helper.begin(*asked)
                if generation % 2:  # both play the same episodes, and one of them comes second
                    score(ws.evaluator, *asked)
                helper.wait()
                steps.commit(ws, generation, steps.scores_of(ws, *asked), Phases())
        finally:
            helper.close()
    assert verify(store).faults == []
    write_report(store)
    assert "Similarity of the experts" in store.read_bytes("report/report.md").decode()
    for generation, record in enumerate(alone.generations()):
        again = store.generations()[generation]
        assert again.scores == record.scores
        assert again.genome == record.genome
        key = f"archives/{generation:05d}.json"
        assert store.read_json(key) == alone.read_json(key)


def test_an_evaluator_leaves_the_lease_and_what_is_half_written_alone(alone):
    lease, half = current_lease(alone), alone.local("config.json").with_name("base.json.partial")
    half.write_bytes(b"somebody is writing this")
    reference = alone.generations()[0]
    with (
        evaluator(RunRef(run_id="alone", storage=alone.storage)) as other,
        other.evaluating(reference.individual, "optimization") as scope,
    ):
        assert scope.missing == ()
        assert {skill: record.score for skill, record in scope.records().items()} == reference.scores
    assert half.exists()
    assert current_lease(alone) == lease
    half.unlink()


def test_scores_that_are_missing_are_named(alone):
    with evaluator(RunRef(run_id="alone", storage=alone.storage)) as other, other.evaluating("base", "test") as scope:
        assert scope.missing == ("coding", "os", "db")
        with pytest.raises(RuntimeError, match="base has no test evaluation of coding, os, db"):
            scope.records()


def test_nobody_is_scored_outside_of_a_scope_or_twice_at_a_time(alone):
    with evaluator(RunRef(run_id="alone", storage=alone.storage)) as other:
        with pytest.raises(RuntimeError, match="open `evaluating`"):
            other.scope("base", "optimization")
        with other.evaluating("base", "optimization") as scope:
            assert other.scope("base", "optimization") is scope
            with pytest.raises(RuntimeError, match="already"), other.evaluating("base", "optimization"):
                pass
        with pytest.raises(RuntimeError, match="open `evaluating`"):
            other.scope("base", "optimization")
