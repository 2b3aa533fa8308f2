"""Agents without a model: they prove the suites and record the training conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, runtime_checkable

from cycleqd.faults import MendableFault
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.protocol import Message, Sample, Skill, SkillSession, Verdict
from cycleqd.skills.replaying import replaying_session

_WORKERS = 4
"""Episodes at a time; more only wait for a free container."""


class GoldSolutionFails(MendableFault, ValueError):
    """A skill's judge refuses what the skill itself calls right."""


class Agent(Protocol):
    """Says what to reply in one episode."""

    def reply(self, turn: int, messages: Sequence[Message]) -> str:
        """The reply of turn `turn` (from 0) to a conversation."""
        ...


class OracleAgent:
    """Replays the gold replies, whatever it sees."""

    def __init__(self, replies: Sequence[str]) -> None:
        self._replies = replies

    def reply(self, turn: int, messages: Sequence[Message]) -> str:
        """The gold reply; nothing once they are used up."""
        return self._replies[turn] if turn < len(self._replies) else ""


class EmptyAgent:
    """Says nothing."""

    def reply(self, turn: int, messages: Sequence[Message]) -> str:
        """Nothing."""
        return ""


class Played(NamedTuple):
    """A finished episode.

    Attributes:
        sample: What was played.
        messages: The whole conversation.
        verdict: The judge's word.
    """

    sample: Sample
    messages: list[Message]
    verdict: Verdict


def play(session: SkillSession, sample: Sample, agent: Agent) -> Played:
    """Plays one episode to its end and judges it.

    Raises:
        SandboxUnavailable: The sandbox failed.
    """
    episode = session.start(sample)
    try:
        turn = 0
        while not episode.act(agent.reply(turn, episode.messages)):
            turn += 1
        return Played(sample, episode.messages, episode.judge())
    finally:
        episode.close()


def play_all(
    skill: Skill, samples: Sequence[Sample], sandboxes: Sandboxes, agent_of: Callable[[Sample], Agent]
) -> list[Played]:
    """Plays samples in parallel; the results have the order of `samples`.

    Args:
        skill: The skill of all samples.
        samples: What to play.
        sandboxes: Where to act.
        agent_of: Makes the agent of one episode.

    Raises:
        SandboxUnavailable: The machine failed.
    """
    with replaying_session(skill, sandboxes) as session, ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(lambda sample: play(session, sample, agent_of(sample)), samples))


@runtime_checkable
class GoldAgentMaker(Protocol):
    """A skill whose solutions depend on what the sandbox shows."""

    def gold_agent(self, sample: Sample) -> Agent:
        """An agent that solves the sample.

        Raises:
            NoReference: The data does not say how to solve it.
        """
        ...


def oracle_of(skill: Skill) -> Callable[[Sample], Agent]:
    """Makes oracles for the samples of a skill; they raise `NoReference` for a sample without a solution."""
    if isinstance(skill, GoldAgentMaker):
        return skill.gold_agent
    return lambda sample: OracleAgent(skill.gold_replies(sample))


def best_score(skill: Skill, sample: Sample) -> float:
    """What a gold solution scores: 1, or what the skill says of a sample whose answers people disagree on."""
    known = getattr(skill, "best_score", None)
    return float(known(sample)) if known else 1.0


def demonstrations(skill: Skill, samples: Sequence[Sample], sandboxes: Sandboxes) -> list[list[Message]]:
    """Gold episodes with real observations: the conversations that an expert learns from.

    Raises:
        SandboxUnavailable: The machine failed.
        GoldSolutionFails: A gold solution was judged wrong, so that it must not be learned from.
    """
    played = play_all(skill, samples, sandboxes, oracle_of(skill))
    for episode in played:
        if episode.verdict.score != best_score(skill, episode.sample):
            raise GoldSolutionFails(
                f"the gold solution of {episode.sample.id} fails ({episode.verdict.reason}): mend the gold replies of "
                f"the skill {skill.name}, or its judge"
            )
    return [episode.messages for episode in played]
