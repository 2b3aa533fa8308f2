import numpy as np
import pytest

from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import Skill
from cycleqd.skills.suites.coding_templates import CODING_TEMPLATES
from cycleqd.skills.suites.db_templates import DB_TEMPLATES
from cycleqd.skills.suites.generation import SPLITS, Draft, Template, draw_split, split_of
from cycleqd.skills.suites.os_templates import OS_TEMPLATES

COUNTS = {"train": 160, "optimization": 24, "test": 60}
TEMPLATES = {"coding": CODING_TEMPLATES, "os": OS_TEMPLATES, "db": DB_TEMPLATES}


@pytest.fixture(scope="module", params=list(TEMPLATES))
def skill(request: pytest.FixtureRequest) -> Skill:
    return build_skill(request.param, seed=0, counts=COUNTS)


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


def test_other_seed_gives_other_samples(skill: Skill) -> None:
    other = build_skill(skill.name, seed=1, counts=COUNTS)
    for split in SPLITS:
        assert not {s.id for s in other.samples(split)} & {s.id for s in skill.samples(split)}


def test_templates_are_rich_enough_for_larger_suites(skill: Skill) -> None:
    larger = build_skill(skill.name, seed=3, counts={"train": 1000, "optimization": 200, "test": 400})
    assert len(larger.samples("train")) == 1000


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
