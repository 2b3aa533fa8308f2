"""The tasks' own logic, through `.fn`, on a toy run; Prefect takes no part."""

import pytest
from prefect.logging import disable_run_logger

from cycleqd.run.lease import current_lease
from cycleqd.run.names import AGGREGATE, RunRef
from cycleqd.run.records import Phases
from cycleqd.steps import scores_of
from cycleqd.steps.workspace import Workspace
from tasks import evolution, scoring
from tests.run.upkeep.toy_run import begin, evolve, score
from tests.toy_experts import SKILLS


@pytest.fixture(autouse=True)
def quiet():
    with disable_run_logger():
        yield


@pytest.fixture
def store(tmp_path):
    return begin(str(tmp_path))


@pytest.fixture
def run(store):
    return RunRef(run_id=store.run_id, storage=store.storage)


def test_seeding_again_gives_the_experts(run):
    assert evolution.seed_archives.fn(run) == [f"expert-{skill}" for skill in SKILLS]


def test_a_child_is_bred_once_and_committed_in_one_line(run, store):
    child, part = evolution.breed.fn(run, 0)
    assert (child, part) == ("g0000", "optimization") == evolution.breed.fn(run, 0)
    score(store, store.individual(child))
    scores = scores_of(Workspace(store), child, part)
    line = evolution.commit.fn(run, 0, scores, Phases(), 12)
    assert line.startswith("g0000 (coding): ")
    assert all(str(scores[skill]) in line for skill in SKILLS)
    (record,) = store.generations()
    assert record.scores == scores
    assert evolution.commit.fn(run, 0, scores, Phases(), 12)  # tried again after an answer got lost


def test_the_elites_become_the_final_model(run, store):
    evolve(store, 6)
    assert evolution.aggregate.fn(run) == AGGREGATE
    assert store.individual(AGGREGATE).generation == 5


def test_the_report_has_an_address(run, store):
    evolve(store, 3)
    assert evolution.report.fn(run).endswith("toy/report/index.html")
    assert store.exists("report/summary.json")


def test_no_task_keeps_the_lease(run, store):
    evolution.breed.fn(run, 0)
    assert current_lease(store) is None


@pytest.mark.parametrize("task", [scoring.load_individual, scoring.evaluate_individual])
def test_scoring_outside_of_an_evaluation_is_refused(run, task):
    arguments = ("os",) if task is scoring.evaluate_individual else ()
    with pytest.raises(RuntimeError, match="open `evaluating`"):
        task.fn(run, "expert-os", "optimization", *arguments)
