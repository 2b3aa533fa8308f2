"""Who gives a run its experts; the model is random, everything else is real."""

import logging

import pytest

from cycleqd.experiment.plan import ExperimentConfig
from cycleqd.experiment.sharing import take_experts
from cycleqd.experiment.siblings import finished, givers, siblings
from cycleqd.run.names import SUMMARY_KEY, expert_id, expert_key
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from tests.experiment.test_sharing import bare
from tests.run.upkeep.toy_run import begin
from tests.toy_experts import SKILLS


@pytest.fixture
def experiment(tmp_path):
    return ExperimentConfig(
        name="mine", storage=str(tmp_path), seeds=(7, 8), methods={"a": {}, "b": {}}, others=("left-out",)
    )


def names(runs):
    return [run.run_id for run in runs]


def test_runs_of_left_out_methods_are_siblings_and_those_of_other_seeds_are_not(experiment):
    assert names(siblings(experiment, 7)) == ["mine-a-7", "mine-b-7", "mine-left-out-7"]


def test_only_runs_whose_search_has_begun_give_experts_and_reported_ones_come_first(experiment, tmp_path):
    assert givers(experiment, 7, "mine-b-7") == []
    source = begin(str(tmp_path), run_id="mine-a-7")
    reported = begin(str(tmp_path), run_id="mine-left-out-7")
    reported.write_json(SUMMARY_KEY, {})
    half_trained = bare(tmp_path, source, run_id="mine-b-7")
    half_trained.write_json(expert_key(SKILLS[0], "summary.json"), {"seconds": 1})
    assert names(givers(experiment, 7, "mine-b-7")) == ["mine-left-out-7", "mine-a-7"]
    assert names(finished(siblings(experiment, 7))) == ["mine-left-out-7"]


def test_a_run_whose_own_search_has_begun_asks_nobody(experiment, tmp_path):
    for method in ("a", "left-out"):
        begin(str(tmp_path), run_id=f"mine-{method}-7")
    assert givers(experiment, 7, "mine-a-7") == []


def test_a_run_with_other_experts_is_passed_over_and_told(tmp_path, caplog):
    other = begin(str(tmp_path), run_id="other")
    source = begin(str(tmp_path), run_id="source", seed=9)
    target = bare(tmp_path, source)
    with caplog.at_level(logging.WARNING):
        taken = take_experts(Workspace(target), [other, source])
    assert taken is not None
    assert taken[0].run_id == "source"
    assert target.has_individual(expert_id(SKILLS[0]))
    assert "run other is passed over" in caplog.text
    assert "they differ in seed" in caplog.text


def test_a_run_with_experts_of_its_own_keeps_them(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    source.write_json(expert_key(SKILLS[0], "summary.json"), {"seconds": 1})
    target = bare(tmp_path, source)
    target.write_json(expert_key(SKILLS[0], "summary.json"), {"seconds": 2})
    assert take_experts(Workspace(target), [source]) is None
    assert not target.has_individual(expert_id(SKILLS[0]))


def test_a_run_that_was_interrupted_while_it_took_experts_takes_the_rest(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    source.write_json(expert_key(SKILLS[0], "summary.json"), {"seconds": 1})
    target = bare(tmp_path, source)
    target.write_json(expert_key(SKILLS[0], "summary.json"), {"seconds": 1})
    assert take_experts(Workspace(target), [source]) is not None
    assert target.has_individual(expert_id(SKILLS[0]))


def test_a_sibling_of_another_version_does_no_harm(tmp_path, caplog):
    source = begin(str(tmp_path), run_id="source")
    newer = RunStore(str(tmp_path), "newer")
    newer.write_json("config.json", source.read_json("config.json") | {"invented_later": 1})
    taken = take_experts(Workspace(bare(tmp_path, source)), [newer, source])
    assert taken is not None
    assert "run newer is passed over" in caplog.text
