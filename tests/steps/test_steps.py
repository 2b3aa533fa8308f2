from collections import Counter

import pytest

from cycleqd import steps
from cycleqd.config import AggregationConfig, NoiseConfig, SearchConfig
from cycleqd.report import summarise, write_report
from cycleqd.run.names import AGGREGATE, AVERAGE, BASE
from cycleqd.run.records import Phases
from cycleqd.run.upkeep import verify
from cycleqd.run.upkeep.prune import plan_pruning, prune
from cycleqd.search import SEARCHES
from tests.run.upkeep.toy_run import begin, commit, evolve, score
from tests.toy_experts import SKILLS


@pytest.mark.parametrize("elites", ["quality", "balanced"])
def test_report_and_test_split_have_the_same_models(tmp_path, elites):
    store = begin(str(tmp_path), aggregation=AggregationConfig(elites=elites))
    ws = evolve(store, 18)  # so many that the two rules choose differently
    aggregate = steps.aggregate(ws)
    names = steps.compared(ws)
    rows = summarise(store).individuals
    assert {f"elite:{skill}" for skill in SKILLS} <= rows.keys()
    best = {rows[f"elite:{skill}"] for skill in SKILLS}
    assert (best == set(aggregate.parents)) is (elites == "quality")
    assert set(names) == {BASE, AVERAGE, *rows.values()}
    assert len(names) == len(set(names))
    assert names[-1] == AGGREGATE
    assert names == steps.compared(ws)


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_run_of_any_search_that_is_interrupted_ends_as_an_undisturbed_one(tmp_path, kind):
    undisturbed = begin(str(tmp_path / "whole"), search=SearchConfig(kind=kind))
    expected = steps.aggregate(evolve(undisturbed, 12))
    store = begin(str(tmp_path / "parts"), search=SearchConfig(kind=kind))
    for until in (1, 2, 7):
        evolve(store, until)
    ws = evolve(store, 9)
    steps.breed(ws, 9)  # and is killed before the child is scored
    assert steps.aggregate(evolve(store, 12)) == expected
    assert [r.model_copy(update={"seconds": Phases()}) for r in store.generations()] == undisturbed.generations()
    assert store.read_json("archives/00011.json") == undisturbed.read_json("archives/00011.json")
    assert verify(store).faults == []


def test_a_run_that_spends_samples_where_they_decide_is_resumed_verified_pruned_and_reported(tmp_path, no_figures):
    changes = {
        "search": SearchConfig(block=4),
        "noise": NoiseConfig(racing=0.8, most=3, offspring=2, final=3),
        "generations": 40,
    }
    undisturbed = begin(str(tmp_path / "whole"), **changes)
    expected = steps.aggregate(evolve(undisturbed, 40))
    store = begin(str(tmp_path / "parts"), **changes)
    for until in (1, 9, 22, 31):
        evolve(store, until)
    ws = evolve(store, 40)
    assert steps.aggregate(ws) == expected
    assert store.generations() == undisturbed.generations()
    met = Counter(record.individual for record in store.generations())
    assert all(met[parent] + parent.startswith("expert") >= 3 for parent in expected.parents)
    assert len(met) < 40
    prune(store, plan_pruning(store, "keep-elites", every=1, episodes=False), "keep-elites")
    assert verify(store).faults == []
    write_report(store)
    assert "episodes that racing saved" in store.read_bytes("report/report.md").decode()


@pytest.mark.parametrize("kind", SEARCHES)
def test_pruning_keeps_what_the_final_model_of_any_search_is_made_of(tmp_path, kind):
    store = begin(str(tmp_path), search=SearchConfig(kind=kind))
    ws = evolve(store, 12)
    prune(store, plan_pruning(store, "keep-elites", every=1, episodes=False), "keep-elites")
    record = steps.aggregate(ws)
    assert record.parents
    if kind == "nsga2":  # of the kinds without archives of their own: a report costs more than all the rest
        write_report(store)


def test_a_commit_that_fails_to_write_may_be_tried_again(tmp_path, monkeypatch):
    whole = evolve(begin(str(tmp_path / "whole"), search=SearchConfig(kind="cma_es")), 12)
    store = begin(str(tmp_path / "failing"), search=SearchConfig(kind="cma_es"))
    ws = evolve(store, 5)
    score(store, steps.breed(ws, 5))
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_generation", broken)
        with pytest.raises(OSError, match="full"):
            commit(ws, 5)
    commit(ws, 5)
    for generation in range(6, 12):
        score(store, steps.breed(ws, generation))
        commit(ws, generation)
    assert store.generations() == whole.store.generations()


def broken(record):
    raise OSError("the disk is full")
