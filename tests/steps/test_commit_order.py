"""Several children in flight, committed as they complete; scores are drawn, all else is real."""

import json
import shutil

import pytest

from cycleqd import steps
from cycleqd.config import GridConfig, SearchConfig
from cycleqd.config.evaluators import EvaluatorsConfig
from cycleqd.run.names import child_id
from cycleqd.run.records import Phases
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import DamagedRun, check_commits
from cycleqd.run.upkeep.prune import plan_pruning, prune
from cycleqd.search.in_flight import under_way
from cycleqd.steps.workspace import Workspace
from tests.run.upkeep.toy_run import begin, forge, score

COUNT = 3
ORDER = [1, 2, 0, 4, 3, 6, 7, 5, 8, 9, 11, 10]


def evolve(store, order, until):
    """Goes on from the last committed generation, as a new process would; children complete in the given order."""
    ws = Workspace(store)
    steps.rebuild_search(ws)
    told = [record.index for record in store.generations()]
    for generation in range(len(told), until):
        for child in under_way(told, COUNT, len(order)):
            score(store, steps.breed(ws, child), steps.asked(ws, child)[1])
        child = order[generation]
        steps.commit(ws, generation, steps.scores_of(ws, *steps.asked(ws, child)), Phases(), child=child)
        told.append(child)
    return ws


def begun(storage, commit="completion", **changes):
    search = SearchConfig(in_flight=COUNT, commit=commit)
    return begin(str(storage), search=search, evaluators=EvaluatorsConfig(kind="process"), **changes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The storage of a run whose children completed in that order."""
    storage = tmp_path_factory.mktemp("completion") / "runs"
    evolve(begun(storage), ORDER, len(ORDER))
    return storage


@pytest.fixture
def store(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "runs")
    return RunStore(str(tmp_path / "runs"), "toy")


def content(storage):
    root = storage / "toy"
    return {
        path.name: path.read_bytes() for folder in ("archives", "generations") for path in (root / folder).iterdir()
    }


@pytest.mark.parametrize("killed", [1, 4, 7])
def test_a_run_that_is_killed_goes_on_as_the_undisturbed_one_with_what_was_in_flight(undisturbed, tmp_path, killed):
    store = begun(tmp_path / "runs")
    evolve(store, ORDER, killed)
    evolve(store, ORDER, len(ORDER))
    assert content(tmp_path / "runs") == content(undisturbed)


def test_records_say_which_child_it_is_and_how_much_was_known_when_it_was_proposed(store):
    records = store.generations()
    assert [record.child for record in records] == ORDER
    assert [record.individual for record in records] == list(map(child_id, ORDER))
    for record in records:
        known = {child_id(earlier.index) for earlier in records[: record.known]}
        assert {parent for parent in record.parents if parent.startswith("g")} <= known
    assert [record.known for record in records] == [max(0, child - COUNT + 1) for child in ORDER]


def test_archives_are_rebuilt_from_the_records(store, undisturbed, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "toy" / "archives")
    check_commits(store)
    assert content(tmp_path / "runs") == content(undisturbed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"child": 1}, "its child is that of generation 0"),
        ({"child": 9, "known": 7}, "it names child 9, and 3 were in flight at most"),
        ({"known": 0}, "0 results are said to be known when child 3 was proposed"),
        ({"child": None, "known": None}, "it names None as its child, and search.commit is completion"),
    ],
)
def test_a_record_that_cannot_be_so_is_named(store, tmp_path, change, said):
    path = tmp_path / "runs" / "toy" / "generations" / "00004.json"
    forge(path, json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedRun, match=f"generation 4 is damaged: .*{said}"):
        check_commits(store)


def test_in_order_records_are_what_they_were_before_there_was_another(tmp_path):
    storage = tmp_path / "runs"
    evolve(begun(storage, "order"), list(range(len(ORDER))), len(ORDER))
    for path in (storage / "toy" / "generations").glob("*.json"):
        assert not {"child", "known"} & set(json.loads(path.read_text()))


def test_a_pruned_run_can_be_prolonged_with_what_it_had_proposed(tmp_path):
    # In a grid of one cell hardly anyone stays: g0003 is a parent of a child that was proposed, and has lost its cell.
    order = list(range(8))
    store = begun(tmp_path / "runs", "order", grid=GridConfig(bins=1))
    evolve(store, order, len(order))
    assert prune(store, plan_pruning(store, "keep-elites"), "keep-elites") > 0
    evolve(store, [*order, 8, 9], 10)
    assert "g0003" in {parent for record in store.generations()[8:] for parent in record.parents}
