"""The search as a flow, scored by evaluators in other processes; Prefect has no server of the user's."""

import json
import shutil

import pytest

from cycleqd.run.names import RunRef, archives_key
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import check_commits
from cycleqd.steps.workspace import opened
from cycleqd.telemetry import metrics
from flows.aggregate import aggregate
from flows.evolve import evolve
from tests.evaluators.conftest import GENERATIONS, alone, base, outcome, run, seeded
from tests.run.upkeep.toy_run import forge

__all__ = ["alone", "base", "run", "seeded"]  # fixtures

pytestmark = [pytest.mark.slow]


def test_two_processes_give_the_archives_of_one_and_every_child_says_where_its_time_went(
    alone, run, prefect_harness, monkeypatch
):
    with opened(run) as ws:
        # This process breeds and commits; who scores is the others' business.
        monkeypatch.setattr(type(ws.evaluator), "engine_at", lambda *_: pytest.fail("an engine was started here"))
        assert evolve(run, 3) == 3
        assert evolve(run, GENERATIONS) == GENERATIONS  # continued
        aggregate(run)
        assert ws.evaluator.tokens > 0
    assert outcome(run) == alone
    store = RunStore.of(run)
    for record in store.generations():
        assert record.split.evaluator in ("process-0", "process-1")
        assert min(record.split.merge, record.split.transfer, record.split.decode) > 0
    assert 'cycleqd_work_seconds_total{activity="transfer",run="seg"}' in metrics.exposition()
    genome = store.individual("aggregate").genome
    assert store.evaluation(genome, store.config().skill_names[0], "test") is not None


def test_as_they_complete_two_processes_give_archives_that_the_records_give_again(seeded, tmp_path, prefect_harness):
    shutil.copytree(seeded, tmp_path / "runs")
    run = RunRef(run_id="seg", storage=str(tmp_path / "runs"))
    config = tmp_path / "runs" / "seg" / "config.json"
    settings = json.loads(config.read_text())
    settings["search"]["commit"] = "completion"
    forge(config, json.dumps(settings))
    with opened(run):
        assert evolve(run, 3) == 3
        assert evolve(run, GENERATIONS) == GENERATIONS  # continued
    store = RunStore.of(run)
    assert sorted(record.child for record in store.generations()) == list(range(GENERATIONS))
    before = [store.read_json(archives_key(number)) for number in range(GENERATIONS)]
    check_commits(store)
    shutil.rmtree(tmp_path / "runs" / "seg" / "archives")
    check_commits(store)
    assert [store.read_json(archives_key(number)) for number in range(GENERATIONS)] == before
