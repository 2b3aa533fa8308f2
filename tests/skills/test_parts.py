import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.building import build_skill
from cycleqd.skills.parts import block, samples_of, split_of

SKILL = build_skill("db", seed=0, counts={"train": 2, "optimization": 24, "test": 5})


def test_a_split_is_its_own_part():
    assert samples_of(SKILL, "test") == SKILL.samples("test")
    assert block(0, None) == block(3, None) == "optimization"


@given(st.integers(1, 24))
def test_blocks_are_disjoint_and_in_the_splits_order(size):
    count = 24 // size
    parts = [samples_of(SKILL, block(number, size)) for number in range(count)]
    assert [sample for part in parts for sample in part] == list(SKILL.samples("optimization"))[: count * size]
    assert {split_of(block(number, size)) for number in range(count)} == {"optimization"}


@pytest.mark.parametrize(
    "part", ["optimization.20-30", "optimization.8-8", "optimization.x", "optimization.8", "a.b.c"]
)
def test_a_part_that_there_is_not_is_refused(part):
    with pytest.raises(ValueError, match="part"):
        samples_of(SKILL, part)
