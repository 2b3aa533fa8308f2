"""Runs of one seed share what comes before the search; the model is random, everything else is real."""

import pytest

from cycleqd import steps
from cycleqd.experiment.sharing import CannotShare, take_over
from cycleqd.run.base_identity import BaseRecord
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import expert_id
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from cycleqd.steps.workspace import Workspace
from tests.run.upkeep.toy_run import begin, evolve
from tests.steps.test_baselines import scored_baselines
from tests.toy_experts import SKILLS


def bare(tmp_path, source, run_id="target", **changes):
    store = RunStore(str(tmp_path), run_id)
    store.open(source.config().model_copy(update={"run_id": run_id} | changes))
    return store


def test_a_run_that_takes_experts_over_goes_on_as_the_one_that_made_them(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    expected = evolve(source, 6).store.generations()
    target = bare(tmp_path, source)
    assert take_over(source, target) > len(SKILLS)
    steps.seed_archives(Workspace(target))
    assert evolve(target, 6).store.generations() == expected
    assert verify(target).faults == []


def test_baselines_come_with_their_scores(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    _, records = scored_baselines(source)
    target = bare(tmp_path, source)
    take_over(source, target, tuple(record.id for record in records))
    for record in records:
        assert target.individual(record.id) == record
        assert task_vector(target, record.id).hash() == record.genome
        assert target.evaluation(record.genome, SKILLS[0], "optimization") is not None


def test_taking_over_again_copies_nothing(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    target = bare(tmp_path, source)
    take_over(source, target)
    assert take_over(source, target) == 0


def test_scores_that_would_come_out_otherwise_now_are_left_behind(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    target = bare(tmp_path, source)
    take_over(source, target, repeats=lambda record: record.skill != SKILLS[0])
    genome = target.individual(expert_id(SKILLS[0])).genome
    assert target.evaluation(genome, SKILLS[0], "optimization") is None
    assert target.evaluation(genome, SKILLS[1], "optimization") is not None


def test_experts_of_another_base_are_not_shared(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    source.write_base(BaseRecord(name="model", base="one", tokenizer="same", files={"model.safetensors": "one"}))
    target = bare(tmp_path, source)
    target.write_base(BaseRecord(name="model", base="two", tokenizer="same", files={"model.safetensors": "two"}))
    with pytest.raises(CannotShare, match=r"model\.safetensors was one, now two"):
        take_over(source, target)


def test_runs_whose_experts_would_differ_share_nothing(tmp_path):
    source = begin(str(tmp_path), run_id="source")
    with pytest.raises(CannotShare, match="they differ in seed"):
        take_over(source, bare(tmp_path, source, seed=99))
