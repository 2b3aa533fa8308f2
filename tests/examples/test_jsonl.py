"""The file of `examples/jsonl`: its configuration loads, its answers are right, silence and cheats are not."""

from pathlib import Path

import pytest

from cycleqd.config import load_config
from cycleqd.evaluation.resources import build_skills
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.benchmarks.jsonl.scorers import SCORERS
from cycleqd.skills.oracle import EmptyAgent, oracle_of
from cycleqd.skills.registry import find
from tests.contracts.skills import scores, solved_by_cheats

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def skill():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = load_config("examples/jsonl/search.yaml")
        assert config.skill_names == ("coding", "general")
        return build_skills(config.model_copy(update={"skills": config.skills[1:]}))["general"]


def samples_of(skill):
    return [*skill.samples("optimization"), *skill.samples("test")]


def test_its_configuration_asks_for_what_the_file_has(skill):
    assert [len(skill.samples(split)) for split in ("optimization", "test")] == [10, 10]
    assert {sample.data["scorer"] for sample in samples_of(skill)} == SCORERS.keys()


@pytest.mark.docker
def test_every_answer_scores_and_silence_and_cheats_do_not(skill):
    samples = samples_of(skill)
    with Sandboxes(run_id="jsonl-example") as sandboxes:
        gold = scores(skill, samples, sandboxes, oracle_of(skill))
        assert {sample: reason for sample, (score, reason) in gold.items() if score != 1.0} == {}
        silent = scores(skill, samples, sandboxes, lambda _: EmptyAgent())
        assert {score for score, _ in silent.values()} == {0.0}
        assert solved_by_cheats(find("jsonl"), skill, samples, sandboxes) == []
