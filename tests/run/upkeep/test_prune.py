import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd import steps
from cycleqd.config import NoiseConfig, SearchConfig
from cycleqd.report.lineage import expert_shares
from cycleqd.report.summary import summarise
from cycleqd.run.names import child_id
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import plan_pruning, prune, recover, verify
from cycleqd.run.upkeep.commits import genome_key, pruned_key
from cycleqd.steps.workspace import Workspace
from tests.run.upkeep.toy_run import begin, evolve

GENERATIONS = 30


REFILLING = {
    "noise": {
        "search": SearchConfig(block=4),
        "noise": NoiseConfig(racing=0.8, most=3, offspring=2, final=3),
        "generations": 120,
    },
    "surrogate": {"search": SearchConfig(kind="surrogate"), "generations": 60},
}
"""Runs whose archives take back whom they let go."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished toy run; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    store = begin(str(folder))
    steps.aggregate(evolve(store, GENERATIONS))
    return folder


def held(store):
    archives = steps.rebuild_search(Workspace(store)).archives
    return {one.id for skill in archives.skills for one in archives[skill].occupants()}


def test_plan_spares_what_an_archive_the_aggregate_or_a_name_needs(undisturbed):
    store = RunStore(str(undisturbed), "toy")
    doomed = {item.record.id for item in plan_pruning(store, "keep-elites")}
    children = {record.individual for record in store.generations()}
    assert doomed == children - held(store) - set(store.individual("aggregate").parents)
    assert doomed, "the toy run must displace somebody, or it tests nothing"
    assert plan_pruning(store, "keep-all") == []


def test_every_nth_generation_stays(undisturbed):
    store = RunStore(str(undisturbed), "toy")
    some, all_ = (
        {item.record.generation for item in plan_pruning(store, "keep-every-n", every=every)} for every in (5, 10**6)
    )
    assert some == {generation for generation in all_ if generation % 5}
    with pytest.raises(ValueError, match="at least 1"):
        plan_pruning(store, "keep-every-n", every=0)


def test_planned_sizes_are_the_bytes_that_are_freed(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    store = RunStore(str(tmp_path), "toy")
    plan = plan_pruning(store, "keep-elites", episodes=True)
    assert prune(store, plan, "keep-elites") == sum(item.size for item in plan) > 0
    assert plan_pruning(store, "keep-elites", episodes=True) == []


def test_child_that_is_not_committed_yet_stays(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    store = RunStore(str(tmp_path), "toy")
    steps.breed(Workspace(store), GENERATIONS)
    assert child_id(GENERATIONS) not in {item.record.id for item in plan_pruning(store, "keep-elites")}


def test_lineage_and_tables_read_the_same_after_pruning(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    store, before = (RunStore(str(folder), "toy") for folder in (tmp_path, undisturbed))
    prune(store, plan_pruning(store, "keep-elites", episodes=True), "keep-elites")
    assert expert_shares("aggregate", store.individual) == expert_shares("aggregate", before.individual)
    assert summarise(store) == summarise(before)


def test_prune_that_was_killed_between_tombstone_and_removal_is_finished_by_the_next(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    store = RunStore(str(tmp_path), "toy")
    plan = plan_pruning(store, "keep-elites")
    prune(store, [item._replace(keys=[]) for item in plan], "keep-elites")
    recover(store)
    assert plan_pruning(store, "keep-elites") == plan
    assert prune(store, plan, "keep-elites") == sum(item.size for item in plan)
    assert verify(store).faults == []


@settings(max_examples=5)
@given(
    st.lists(st.integers(1, GENERATIONS - 1), min_size=1, max_size=4, unique=True),
    st.sampled_from(["keep-elites", "keep-every-n"]),
    st.booleans(),
)
def test_pruned_run_that_is_continued_ends_as_one_that_was_not(
    undisturbed, tmp_path_factory, prunings, policy, episodes
):
    reference = undisturbed / "toy"
    folder = tmp_path_factory.mktemp("pruned")
    store = begin(str(folder))
    for until in [*sorted(prunings), GENERATIONS]:
        evolve(store, until)
        prune(store, plan_pruning(store, policy, every=4, episodes=episodes), policy)
        recover(store)
    steps.aggregate(Workspace(store))
    for path in sorted((reference / "archives").iterdir()):
        assert (folder / "toy" / "archives" / path.name).read_bytes() == path.read_bytes()
    assert (folder / "toy" / genome_key("aggregate")).read_bytes() == (
        reference / genome_key("aggregate")
    ).read_bytes()
    for individual in store.individuals():
        assert store.exists(genome_key(individual.id)) != store.exists(pruned_key(individual.id))
    assert verify(store).faults == []


@pytest.mark.parametrize("kind", REFILLING)
def test_where_archives_take_individuals_back_all_genomes_stay(kind, tmp_path):
    changes = REFILLING[kind]
    store = begin(str(tmp_path), seed=1, **changes)
    for until in range(20, changes["generations"] + 1, 20):
        ws = evolve(store, until)
        assert plan_pruning(store, "keep-elites") == []
    steps.aggregate(ws)
    assert plan_pruning(store, "keep-elites") == []
