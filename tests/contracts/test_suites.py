"""What every generated suite promises, whoever gives it: a skill of an installed package is tested, too."""

import json

import numpy as np
import pytest

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.building import build_skill
from cycleqd.skills.oracle import EmptyAgent, demonstrations, oracle_of
from cycleqd.skills.protocol import GENERATED, Skill, Split
from cycleqd.skills.registry import find
from tests.contracts.skills import check_row, rows, scores, shown, solved_by_cheats

SPLITS: tuple[Split, ...] = ("train", "optimization", "test")
COUNTS: dict[Split, int] = {"train": 160, "optimization": 24, "test": 60}
PLAYED: dict[Split, int] = {"train": 28, "optimization": 12, "test": 42}
"""Of the built-in suites every template, those of the test split included."""


@pytest.fixture(scope="module", params=rows("suite"))
def skill(request: pytest.FixtureRequest) -> Skill:
    return build_skill(request.param, seed=0, counts=COUNTS)


@pytest.fixture(scope="module")
def played(skill: Skill) -> Skill:
    return build_skill(skill.name, seed=11, counts=PLAYED)


def test_the_row_says_what_the_class_says(skill: Skill) -> None:
    check_row(find(skill.name), skill)
    assert skill.origin == GENERATED


def test_every_split_has_the_wanted_size(skill: Skill) -> None:
    assert {split: len(skill.samples(split)) for split in SPLITS} == COUNTS


def test_samples_say_whose_they_are(skill: Skill) -> None:
    for split in SPLITS:
        assert {(sample.skill, sample.split) for sample in skill.samples(split)} == {(skill.name, split)}


def test_ids_are_unique_over_all_splits(skill: Skill) -> None:
    ids = [sample.id for split in SPLITS for sample in skill.samples(split)]
    assert len(set(ids)) == len(ids)


def test_no_problem_is_in_two_splits_whatever_the_seeds(skill: Skill) -> None:
    other = build_skill(skill.name, seed=1, counts=COUNTS)
    problems = {split: {text for one in (skill, other) for text in shown(one, one.samples(split))} for split in SPLITS}
    assert not problems["train"] & problems["optimization"]
    assert not problems["train"] & problems["test"]
    assert not problems["optimization"] & problems["test"]


def test_no_problem_comes_twice_in_a_split(skill: Skill) -> None:
    for split in SPLITS:
        problems = [
            (sample.template, text)
            for sample, text in zip(skill.samples(split), shown(skill, skill.samples(split)), strict=True)
        ]
        assert len(set(problems)) == len(problems)


def test_same_seed_gives_the_same_samples(skill: Skill) -> None:
    again = build_skill(skill.name, seed=0, counts=COUNTS)
    assert all(again.samples(split) == skill.samples(split) for split in SPLITS)


def test_other_seed_gives_other_samples(skill: Skill) -> None:
    other = build_skill(skill.name, seed=1, counts=COUNTS)
    for split in SPLITS:
        assert [s.id for s in other.samples(split)] != [s.id for s in skill.samples(split)]


def test_a_shorter_split_is_the_beginning_of_a_longer_one(skill: Skill) -> None:
    shorter = build_skill(skill.name, seed=0, counts={"test": 10})
    assert shorter.samples("test") == skill.samples("test")[:10]
    assert len(shorter.samples("train")) == 0


def test_samples_survive_json(skill: Skill) -> None:
    for split in SPLITS:
        for sample in skill.samples(split):
            assert json.loads(json.dumps(sample.data)) == sample.data


def test_drawing_leaves_the_global_generator_alone(skill: Skill) -> None:
    np.random.seed(7)  # noqa: NPY002 -- the global state is what is tested
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    build_skill(skill.name, seed=5, counts={"test": 6})
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_the_last_message_that_a_model_is_shown_is_the_users(skill: Skill) -> None:
    for sample in skill.samples("test"):
        assert skill.initial_messages(sample)[-1]["role"] == "user"


@pytest.mark.docker
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_scores_one_on_every_sample(played: Skill, split: Split, sandboxes: Sandboxes) -> None:
    found = scores(played, played.samples(split), sandboxes, oracle_of(played))
    assert {sample: reason for sample, (score, reason) in found.items() if score != 1.0} == {}


@pytest.mark.docker
def test_the_empty_agent_scores_zero(played: Skill, sandboxes: Sandboxes) -> None:
    found = scores(played, played.samples("test"), sandboxes, lambda _: EmptyAgent())
    assert {score for score, _ in found.values()} == {0.0}


@pytest.mark.docker
def test_no_cheat_scores_a_point(played: Skill, sandboxes: Sandboxes) -> None:
    assert solved_by_cheats(find(played.name), played, played.samples("test"), sandboxes) == []


@pytest.mark.docker
def test_demonstrations_are_gold_conversations(played: Skill, sandboxes: Sandboxes) -> None:
    samples = played.samples("optimization")
    recorded = demonstrations(played, samples, sandboxes)
    assert len(recorded) == len(samples)
    for sample, messages in zip(samples, recorded, strict=True):
        start = played.initial_messages(sample)
        assert messages[: len(start)] == start
        said = [message["content"] for message in messages[len(start) :] if message["role"] == "assistant"]
        assert said == played.gold_replies(sample)
        turns = [message["role"] for message in messages if message["role"] != "system"]
        assert turns == ["user", "assistant"] * (len(turns) // 2)
