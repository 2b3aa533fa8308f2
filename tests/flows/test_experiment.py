"""A small experiment as a flow: the model is random, everything else is real."""

import pytest
import torch

from cycleqd.cli.jobs import play_side_by_side
from cycleqd.experiment.plan import ExperimentConfig, load_experiment, planned_runs
from cycleqd.experiment.results import collect
from cycleqd.plain_yaml import write_yaml
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import expert_key
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from flows.experiment import run_experiment
from tests.figures import without_figures
from tests.live_prefect import SMALLEST, small_configuration

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    base = folder / "base.yaml"
    base.write_text(write_yaml(small_configuration(folder, "base", **SMALLEST)))
    return ExperimentConfig(
        name="small",
        base=str(base),
        storage=str(folder / "runs"),
        seeds=(3,),
        children=2,
        settings={
            "comparison": {"elites": False, "all_data": True},
            "refinement": {"epochs": 1},
            "baselines": [{"method": "tsv", "scales": [1.0]}, {"method": "regmean", "scales": [1.0]}],
        },
        methods={"cycleqd": {}, "cma-es": {"search": {"kind": "cma_es", "merge": "regmean"}}},
    )


@pytest.fixture(scope="module")
def played(experiment, prefect_harness):
    with without_figures():
        return run_experiment(experiment)


def test_every_method_has_a_row_beside_those_without_a_search(experiment, played):
    assert played.seeds == [3]
    assert {
        "base",
        "expert:os",
        "all-data",
        "average",
        "baseline:tsv",
        "baseline:regmean",
        "cycleqd",
        "cma-es",
        "cma-es-merged",
    } <= played.rows.keys()
    assert played.episodes == 2 * 1 * 3
    assert played.rows["cma-es"].episodes == played.episodes
    assert played.subject == "cma-es"
    assert collect(experiment) == played


def test_runs_of_a_seed_share_their_experts(experiment, played):
    first, second = (RunStore(config.storage, config.run_id) for _, _, config in planned_runs(experiment))
    for skill in ("coding", "os", "db", "all-data"):
        key = expert_key(skill, "summary.json")
        assert first.read_bytes(key) == second.read_bytes(key)  # with the seconds that the training took
    assert [first.individual(f"expert-{skill}").genome for skill in ("os", "db")] == [
        second.individual(f"expert-{skill}").genome for skill in ("os", "db")
    ]
    assert {record.individual for record in second.generations()} == {"g0000", "g0001"}


def test_a_search_may_combine_the_experts_shares_of_regmean(experiment, played):
    _, store = (RunStore(config.storage, config.run_id) for _, _, config in planned_runs(experiment))
    shares = [f"regmean-{skill}" for skill in ("coding", "os", "db")]
    child = store.individual("g0001")
    assert child.parents == shares
    cores = [task_vector(store, share) for share in shares]
    merge = task_vector(store, "regmean-1")
    for name in merge.names():
        torch.testing.assert_close(merge.delta(name), sum(core.delta(name) for core in cores))
    assert verify(store).faults == []


def test_started_again_it_repeats_nothing(experiment, played, monkeypatch, no_figures):
    monkeypatch.setattr("cycleqd.evaluation.evaluator.start_engine", lambda *_: pytest.fail("an engine was started"))
    assert run_experiment(experiment).rows == played.rows


@pytest.fixture(scope="module")
def larger(experiment, tmp_path_factory):
    """The plan with two more methods, as a file."""
    more = {"qd": {"search": {"kind": "qd"}}, "random": {"search": {"kind": "random"}}}
    values = experiment.model_dump(mode="json", exclude={"others", "ours"})
    path = tmp_path_factory.mktemp("larger") / "plan.yaml"
    path.write_text(write_yaml(values | {"methods": experiment.methods | more}))
    return str(path)


def test_methods_that_are_played_later_and_side_by_side_take_the_experts_of_those_that_are_left_out(
    experiment, larger, played, tmp_path
):
    chosen = load_experiment(larger, methods=["qd", "random"])
    assert play_side_by_side(chosen, 2, [larger], tmp_path) == []
    first, *_ = (RunStore(config.storage, config.run_id) for _, _, config in planned_runs(experiment))
    for _, _, config in planned_runs(chosen):
        store = RunStore(config.storage, config.run_id)
        for skill in ("coding", "os", "db", "all-data"):
            key = expert_key(skill, "summary.json")
            assert store.read_bytes(key) == first.read_bytes(key)
        assert verify(store).faults == []
        said = (tmp_path / f"{config.run_id}.log").read_text()
        assert f"objects of {first.run_id} are shared with {config.run_id}" in said
    found = collect(load_experiment(larger))
    assert (found.seeds, found.unfinished) == ([3], [])
