"""What the recorded demonstrations of the built-in suites show; `tests/contracts/test_suites.py` has all else."""

import pytest

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.building import build_skill
from cycleqd.skills.oracle import demonstrations
from tests.skills.suites.test_generation import TEMPLATES

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("name", ["os", "db"])
def test_demonstrations_show_what_was_really_seen(name: str, sandboxes: Sandboxes) -> None:
    known = sum(not template.held_out for template in TEMPLATES[name])
    skill = build_skill(name, seed=11, counts={"optimization": known})
    samples = skill.samples("optimization")
    questions = [sample for sample in samples if sample.data["kind"] == "question"]
    assert questions
    for sample, messages in zip(samples, demonstrations(skill, samples, sandboxes), strict=True):
        observation = messages[len(skill.initial_messages(sample)) + 1]["content"]
        # What the gold command must have shown before the gold answer names it.
        answer = sample.data["answer"] if sample in questions else []
        for value in answer if isinstance(answer, list) else [answer]:
            assert str(value) in observation, sample.id
