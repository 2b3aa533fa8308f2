"""The final model of a toy run: what it is made of, and that a failed training takes nothing away."""

import pytest

from cycleqd import steps
from cycleqd.config import ComparisonConfig, RefinementConfig, SearchConfig
from cycleqd.experts.conversations import TooLong
from cycleqd.run.genomes import add_individual, save_bases, task_vector
from cycleqd.run.names import AGGREGATE, ALL_DATA, REFINED, expert_key
from cycleqd.run.records import IndividualRecord
from cycleqd.run.upkeep import leftovers
from cycleqd.steps import refinement
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import build_bases
from tests.run.upkeep.toy_run import begin, evolve
from tests.toy_experts import lora_factors


@pytest.fixture
def refined(tmp_path, monkeypatch):
    """A finished run that is refined now, with one episode to learn from."""
    ws = evolve(begin(str(tmp_path), generations=3), 3)
    steps.aggregate(ws)
    ws.adopt(ws.config.model_copy(update={"refinement": RefinementConfig(epochs=1)}))
    steps.aggregate(ws)
    solved = [refinement.Solved("os", None)]
    monkeypatch.setattr(refinement, "solved_episodes", lambda store: solved)
    return ws


def test_a_model_with_bases_of_its_own_stays_itself_where_nothing_was_solved(tmp_path, monkeypatch):
    monkeypatch.setattr(refinement, "solved_episodes", lambda store: [])
    changes = {
        "search": SearchConfig(kind="rescoring", individual=ALL_DATA),
        "comparison": ComparisonConfig(all_data=True),
        "refinement": RefinementConfig(epochs=1),
    }
    store = begin(str(tmp_path), generations=0, **changes)
    bases, vectors = build_bases({ALL_DATA: lora_factors(5)["os"]})
    save_bases(store, bases, of=ALL_DATA)
    add_individual(store, vectors[ALL_DATA], IndividualRecord(id=ALL_DATA, genome=""))
    ws = Workspace(store)
    steps.aggregate(ws)
    steps.refine(ws)
    assert task_vector(store, AGGREGATE).hash() == vectors[ALL_DATA].hash()


def failing(fault):
    def learn(*_):
        raise fault

    return learn


def test_a_refinement_that_fails_leaves_the_final_model_that_was_there(refined, monkeypatch):
    before = refined.store.individual(AGGREGATE)
    monkeypatch.setattr(refinement, "_learned", failing(RuntimeError("training diverged")))
    with pytest.raises(RuntimeError):
        steps.refine(refined)
    assert refined.store.individual(AGGREGATE) == before


def test_where_all_that_was_solved_is_too_long_the_answer_is_the_final_model(refined, monkeypatch, caplog):
    monkeypatch.setattr(refinement, "_learned", failing(TooLong("all 1 are longer than max_length=36")))
    record = steps.refine(refined)
    assert "learns nothing more: all 1 are longer" in caplog.text
    assert record.mutation["episodes"] == 0
    assert task_vector(refined.store, AGGREGATE).hash() == refined.store.individual(*record.parents).genome


def test_the_state_of_a_second_refinement_is_no_leftover_of_the_first(refined, monkeypatch):
    store = refined.store
    store.write_json(expert_key(REFINED, "summary.json"), {})
    monkeypatch.setattr(refinement, "save_checkpoint", failing(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        steps.refine(refined)
    store.write_bytes(state := expert_key(REFINED, "training.safetensors"), b"")
    assert state not in leftovers(store.keys("experts"))
