"""Deaths of sandboxes are scripted here: real ones cannot be had on demand at a certain reply of a certain episode."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.sandbox import SandboxUnavailable
from cycleqd.skills.protocol import GENERATED, Sample, Verdict
from cycleqd.skills.replaying import DIED, replaying_session


def sample(number):
    return Sample(f"toy/{number}", "toy", "test", "toy", {})


class ToyEpisode:
    """Finishes at `done`; the session it shares dies at `bomb`, and in the judge after a `mine`."""

    def __init__(self, sample, session):
        self.sample = sample
        self.messages = [{"role": "user", "content": sample.id}]
        self.session = session
        self.failed = {"beside": 0.0}
        self.replies = []
        self.closed = False
        self.dies_at = session.skill.dies_at.pop(0) if session.skill.dies_at else None

    def act(self, reply):
        self.session.alive()
        if len(self.replies) == self.dies_at:
            self.session.die()
        self.messages.append({"role": "assistant", "content": reply})
        self.replies.append(reply)
        if reply == "bomb":
            self.session.die()
        if reply in self.session.skill.machine_faults:
            self.session.skill.machine_faults.remove(reply)
            self.session.die()
        if reply == "done":
            return True
        self.messages.append({"role": "user", "content": f"seen {len(self.replies)} in {self.session.number}"})
        return False

    def judge(self):
        self.session.alive()
        if "mine" in self.replies:
            self.session.die()
        return Verdict(1.0, "solved")

    def close(self):
        self.closed = True


class ToySession:
    def __init__(self, skill, number):
        self.skill, self.number, self.dead, self.episodes = skill, number, False, []

    def start(self, sample):
        self.alive()
        self.episodes.append(ToyEpisode(sample, self))
        return self.episodes[-1]

    def alive(self):
        if self.dead:
            raise SandboxUnavailable("the server is gone")

    def die(self):
        self.dead = True
        raise SandboxUnavailable("the server ended")


class ToySkill:
    """A skill whose episodes share a server.

    machine_faults: replies that end the server once each, whatever they are.
    sessions: how many can be opened.
    dies_at: at which reply the server ends, for one episode after the other.
    """

    name, max_turns, max_new_tokens, stop, origin = "toy", 5, 10, (), GENERATED

    def __init__(self, machine_faults=(), sessions=1000, dies_at=()):
        self.machine_faults = list(machine_faults)
        self.dies_at = list(dies_at)
        self.sessions, self.left, self.closed = [], sessions, 0
        self.lock = threading.Lock()

    @contextmanager
    def session(self, sandboxes):
        with self.lock:
            if len(self.sessions) >= self.left:
                raise SandboxUnavailable("no engine answers")
            self.sessions.append(ToySession(self, len(self.sessions)))
            session = self.sessions[-1]
        try:
            yield session
        finally:
            with self.lock:
                self.closed += 1


def play(session, number, replies):
    """An episode that gives `replies` and then says done; its verdict and its conversation."""
    episode = session.start(sample(number))
    try:
        for reply in [*replies, "done"]:
            if episode.act(reply):
                break
        return episode.judge(), episode.messages
    finally:
        episode.close()


def spoken(messages):
    return [message["content"] for message in messages if message["role"] == "assistant"]


scripts = st.lists(
    st.lists(st.sampled_from(["look", "write", "bomb", "mine"]), max_size=3),
    min_size=1,
    max_size=6,
)


@given(scripts, st.integers(1, 3))
def test_only_the_episodes_that_kill_their_sandbox_lose(replies, workers):
    skill = ToySkill()
    with replaying_session(skill, None) as session, ThreadPoolExecutor(workers) as pool:
        played = list(pool.map(lambda item: play(session, *item), enumerate(replies)))
    for script, (verdict, messages) in zip(replies, played, strict=True):
        if "bomb" in script:
            assert verdict.score == 0.0
            assert verdict.reason.startswith(DIED)
            assert verdict.extra == {"beside": 0.0}
            assert spoken(messages) == script[: script.index("bomb") + 1]
            assert messages[-1]["content"] == "bomb"
        elif "mine" in script:
            assert verdict.score == 0.0
            assert verdict.reason.startswith(DIED)
            assert spoken(messages) == [*script, "done"]
        else:
            assert verdict == Verdict(1.0, "solved")
            assert spoken(messages) == [*script, "done"]
    assert skill.closed == len(skill.sessions)
    assert all(episode.closed for opened in skill.sessions for episode in opened.episodes)


def test_a_neighbour_goes_on_with_the_conversation_that_it_had():
    skill = ToySkill()
    with replaying_session(skill, None) as session:
        first, second = session.start(sample(1)), session.start(sample(2))
        assert not first.act("look")
        before = list(first.messages)
        assert second.act("bomb")
        assert not first.act("write")
        assert first.messages[: len(before)] == before
        assert "in 0" in before[-1]["content"]
        assert "in 0" not in first.messages[-1]["content"]
        assert first.act("done")
        assert first.judge().score == 1.0


def test_a_death_that_does_not_come_again_is_nobodys_fault():
    skill = ToySkill(machine_faults=["look"])
    with replaying_session(skill, None) as session:
        verdict, _ = play(session, 1, ["look", "look"])
    assert verdict == Verdict(1.0, "solved")


def test_deaths_at_another_reply_each_time_are_the_machines_fault():
    skill = ToySkill(dies_at=[3, 2, 1, 0])
    with replaying_session(skill, None) as session:
        episode = session.start(sample(1))
        assert not any(episode.act("look") for _ in range(3))
        with pytest.raises(SandboxUnavailable):
            episode.act("look")


def test_without_a_machine_to_play_again_nothing_is_scored():
    skill = ToySkill(sessions=1)
    with replaying_session(skill, None) as session:
        episode = session.start(sample(1))
        with pytest.raises(SandboxUnavailable, match="no engine answers"):
            episode.act("bomb")


def test_who_starts_after_a_death_starts_in_another_session():
    skill = ToySkill()
    with replaying_session(skill, None) as session:
        assert play(session, 1, ["bomb"])[0].score == 0.0
        for number in range(2, 6):
            assert play(session, number, ["look"])[0].score == 1.0
    # The first, the one the bomb was tried in alone, and the one that the others share.
    assert len(skill.sessions) == 3


def test_a_session_that_died_before_an_episode_began_is_replaced_once():
    skill = ToySkill()
    with replaying_session(skill, None) as session:
        skill.sessions[0].dead = True
        assert play(session, 1, ["look"])[0].score == 1.0
