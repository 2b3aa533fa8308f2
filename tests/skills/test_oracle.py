"""What the recorded demonstrations of the built-in suites show; `tests/contracts/test_suites.py` has all else."""

from types import SimpleNamespace

import pytest

from cycleqd.faults import MendableFault
from cycleqd.sandbox import Sandboxes
from cycleqd.skills import oracle
from cycleqd.skills.building import build_skill
from cycleqd.skills.oracle import Played, demonstrations
from cycleqd.skills.protocol import Sample, Verdict
from tests.skills.suites.test_generation import TEMPLATES


@pytest.mark.docker
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


def test_a_gold_solution_that_its_own_judge_refuses_is_a_fault_of_the_skill(monkeypatch):
    sample = Sample("sums/train/0000", "sums", "train", "t", {})
    monkeypatch.setattr(oracle, "play_all", lambda *given: [Played(sample, [], Verdict(0.0, "not a sum"))])
    skill = SimpleNamespace(name="sums")
    with pytest.raises(MendableFault, match=r"sums/train/0000 fails \(not a sum\): mend .* of the skill sums"):
        demonstrations(skill, [sample], None)
