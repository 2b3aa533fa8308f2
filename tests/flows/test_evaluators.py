"""The search as a flow, scored by evaluators in other processes; Prefect has no server of the user's."""

import pytest

from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import opened
from cycleqd.telemetry import metrics
from flows.aggregate import aggregate
from flows.evolve import evolve
from tests.evaluators.conftest import GENERATIONS, alone, base, outcome, run, seeded

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
