import json

import numpy as np
import pytest

from cycleqd.skills import SUITES, build_skill
from cycleqd.skills.protocol import Skill
from cycleqd.skills.suites.coding_templates import CODING_TEMPLATES
from cycleqd.skills.suites.db_templates import DB_TEMPLATES
from cycleqd.skills.suites.generation import SPLITS, Draft, Template, draw_split, split_of
from cycleqd.skills.suites.os_templates import OS_TEMPLATES

COUNTS = {"train": 160, "optimization": 24, "test": 60}
TEMPLATES = {"coding": CODING_TEMPLATES, "os": OS_TEMPLATES, "db": DB_TEMPLATES}


@pytest.fixture(scope="module", params=list(SUITES))
def skill(request: pytest.FixtureRequest) -> Skill:
    return build_skill(request.param, seed=0, counts=COUNTS)


def test_every_split_has_the_wanted_size(skill: Skill) -> None:
    assert {split: len(skill.samples(split)) for split in SPLITS} == COUNTS


def test_ids_are_unique_over_all_splits(skill: Skill) -> None:
    ids = [sample.id for split in SPLITS for sample in skill.samples(split)]
    assert len(set(ids)) == len(ids)


def test_no_problem_is_in_two_splits_whatever_the_seeds(skill: Skill) -> None:
    other = build_skill(skill.name, seed=1, counts=COUNTS)
    problems = {
        split: {(s.template, s.data["task"]) for source in (skill, other) for s in source.samples(split)}
        for split in SPLITS
    }
    assert not problems["train"] & problems["optimization"]
    assert not problems["train"] & problems["test"]
    assert not problems["optimization"] & problems["test"]


def test_no_problem_comes_twice_in_a_split(skill: Skill) -> None:
    for split in SPLITS:
        problems = [(sample.template, sample.data["task"]) for sample in skill.samples(split)]
        assert len(set(problems)) == len(problems)


def test_held_out_templates_are_only_in_the_test_split(skill: Skill) -> None:
    held_out = {template.name for template in TEMPLATES[skill.name] if template.held_out}
    assert len(held_out) >= 6
    for split in ("train", "optimization"):
        assert not held_out & {sample.template for sample in skill.samples(split)}
    new = [sample.template in held_out for sample in skill.samples("test")]
    assert sum(new) == COUNTS["test"] // 3
    assert {sample.template for sample in skill.samples("test")} >= held_out


def test_there_are_dozens_of_templates_and_training_sees_all_that_are_not_held_out(skill: Skill) -> None:
    known = {template.name for template in TEMPLATES[skill.name] if not template.held_out}
    assert len(known) >= 24
    assert {sample.template for sample in skill.samples("train")} == known


def test_any_prefix_is_balanced_over_the_templates(skill: Skill) -> None:
    names = [sample.template for sample in skill.samples("train")]
    for size in (7, 24, 100):
        counts = [names[:size].count(name) for name in set(names)]
        assert max(counts) - min(counts) <= 1


def test_same_seed_gives_the_same_samples(skill: Skill) -> None:
    again = build_skill(skill.name, seed=0, counts=COUNTS)
    assert all(again.samples(split) == skill.samples(split) for split in SPLITS)


def test_other_seed_gives_other_samples(skill: Skill) -> None:
    other = build_skill(skill.name, seed=1, counts=COUNTS)
    for split in SPLITS:
        assert not {s.id for s in other.samples(split)} & {s.id for s in skill.samples(split)}


def test_a_shorter_split_is_the_beginning_of_a_longer_one(skill: Skill) -> None:
    shorter = build_skill(skill.name, seed=0, counts={"test": 10})
    assert shorter.samples("test") == skill.samples("test")[:10]
    assert shorter.samples("train") == ()


def test_data_survives_json(skill: Skill) -> None:
    for sample in skill.samples("test"):
        assert json.loads(json.dumps(sample.data)) == sample.data


def test_templates_are_rich_enough_for_larger_suites(skill: Skill) -> None:
    larger = build_skill(skill.name, seed=3, counts={"train": 1000, "optimization": 200, "test": 400})
    assert len(larger.samples("train")) == 1000


def test_drawing_leaves_the_global_generator_alone(skill: Skill) -> None:
    np.random.seed(7)  # noqa: NPY002 -- the global state is what is tested
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    build_skill(skill.name, seed=5, counts={"test": 6})
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def _letter(rng: np.random.Generator) -> Draft:
    return Draft("abcdefghij"[int(rng.integers(10))], {})


def test_an_exhausted_template_says_so() -> None:
    letters = Template("letter", _letter)
    available = sum(split_of("letter", letter) == "train" for letter in "abcdefghij")
    assert len(draw_split("toy", [letters], "train", seed=0, count=available)) == available
    with pytest.raises(ValueError, match=f"only {available} distinct problems for the train split"):
        draw_split("toy", [letters], "train", seed=0, count=available + 1)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1 for os train"):
        build_skill("os", seed=0, counts={"train": -1})


def test_unknown_skills_are_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="'cooking'; there are coding, os, db"):
        build_skill("cooking", seed=0, counts={})
