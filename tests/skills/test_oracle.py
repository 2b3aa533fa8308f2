from collections.abc import Mapping
from typing import Any

import pytest

from cycleqd.sandbox import Sandboxes
from cycleqd.skills import SUITES, build_skill
from cycleqd.skills.oracle import EmptyAgent, OracleAgent, demonstrations, oracle_of, play_all
from cycleqd.skills.protocol import Skill, Split
from tests.skills.suites.test_generation import TEMPLATES

pytestmark = pytest.mark.docker


def _skill(name: str) -> Skill:
    """Every template twice or more, over all splits."""
    known = sum(not template.held_out for template in TEMPLATES[name])
    return build_skill(name, seed=11, counts={"train": known, "optimization": 12, "test": 3 * (known // 2)})


@pytest.mark.parametrize("split", ["train", "optimization", "test"])
@pytest.mark.parametrize("name", list(SUITES))
def test_the_oracle_scores_one_on_every_sample(name: str, split: Split, sandboxes: Sandboxes) -> None:
    skill = _skill(name)
    played = play_all(skill, skill.samples(split), sandboxes, oracle_of(skill))
    assert [(p.sample.id, p.verdict.reason) for p in played if p.verdict.score != 1.0] == []


@pytest.mark.parametrize("name", list(SUITES))
def test_the_empty_agent_scores_zero(name: str, sandboxes: Sandboxes) -> None:
    skill = _skill(name)
    played = play_all(skill, skill.samples("test"), sandboxes, lambda _: EmptyAgent())
    assert {p.verdict.score for p in played} == {0.0}


@pytest.mark.parametrize(("name", "reply"), [("os", "Act: finish"), ("db", "Action: Answer\nFinal Answer: []")])
def test_an_agent_that_ends_every_episode_at_once_scores_zero(name: str, reply: str, sandboxes: Sandboxes) -> None:
    skill = _skill(name)
    played = play_all(skill, skill.samples("test"), sandboxes, lambda _: OracleAgent([reply]))
    assert {p.verdict.score for p in played} == {0.0}


@pytest.mark.parametrize("name", list(SUITES))
def test_demonstrations_are_gold_conversations_with_what_was_really_seen(name: str, sandboxes: Sandboxes) -> None:
    skill = _skill(name)
    samples = skill.samples("optimization")
    recorded = demonstrations(skill, samples, sandboxes)
    assert len(recorded) == len(samples)
    for sample, messages in zip(samples, recorded, strict=True):
        start = skill.initial_messages(sample)
        assert messages[: len(start)] == start
        played = messages[len(start) :]
        assert [m["content"] for m in played if m["role"] == "assistant"] == skill.gold_replies(sample)
        assert [m["role"] for m in messages[1:]] == ["user", "assistant"] * (len(messages) // 2)
        for value in _values_to_see(sample.data):
            assert str(value) in played[1]["content"], sample.id


def _values_to_see(data: Mapping[str, Any]) -> list[object]:
    """What the gold command must have shown before the gold answer names it."""
    if data.get("kind") != "question":
        return []
    return data["answer"] if isinstance(data["answer"], list) else [data["answer"]]
