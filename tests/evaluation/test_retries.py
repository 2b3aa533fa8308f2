"""Real episodes in strict rounds when one skill fails and is played again; skills and engine need no containers."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from cycleqd.evaluation.play import evaluate, requests_of
from cycleqd.evaluation.rounds import RoundBroken, Rounds
from cycleqd.models.causal_lm.protocol import Reply
from cycleqd.skills.protocol import GENERATED, Sample, Verdict
from cycleqd.skills.turns import TurnEpisode

SKILLS = ("first", "second")


class MachineFault(OSError):
    """What no playing again in another sandbox mends."""


class Act(NamedTuple):
    kind: str
    text: str


class Counting(TurnEpisode):
    """Takes as many replies as its sample says; `fails_at` is the turn at which its sandbox dies."""

    def __init__(self, sample, messages, fails_at):
        super().__init__(
            sample, messages, sample.data["turns"], parse=self._read, performed="do", perform=self._perform
        )
        self._turn = 0
        self._fails_at = fails_at

    def _read(self, reply):
        self._turn += 1
        return Act("do", reply)

    def _perform(self, text):
        if self._turn == self._fails_at:
            raise MachineFault("the container is gone")
        return f"observation {self._turn}"

    def judge(self):
        return Verdict(1.0, "done")

    def close(self):
        pass


class CountingSkill:
    """Episodes of different lengths; `faults` are the turns at which the first episodes' sandboxes die."""

    max_turns = 9
    max_new_tokens = 8
    stop = ("\n",)
    origin = GENERATED

    def __init__(self, name, turns, faults=()):
        self.name = name
        self._turns = turns
        self._faults = list(faults)

    def samples(self, split):
        return [Sample(f"{self.name}/{i}", self.name, split, "t", {"turns": n}) for i, n in enumerate(self._turns)]

    def initial_messages(self, sample):
        return [{"role": "system", "content": "count"}, {"role": "user", "content": sample.id}]

    @contextmanager
    def session(self, sandboxes):
        skill = self

        class Session:
            def start(self, sample):
                fails_at = skill._faults.pop(0) if skill._faults else None
                return Counting(sample, skill.initial_messages(sample), fails_at)

        yield Session()


class Recorder:
    """Keeps what it was asked, as it was when it was asked."""

    name = "recorder"
    loaded = "f" * 64

    def __init__(self):
        self.batches = []

    def chat(self, requests):
        self.batches.append([copy.deepcopy(request._replace(scope="")) for request in requests])
        return [Reply(f"reply to {request.messages[-1]['content']}", 1, 1, "stop") for request in requests]

    @contextmanager
    def exclusive(self):
        yield


def play(skills, engine, rounds):
    """Plays skills at the same time; returns what came or the fault, by name."""

    def one(skill):
        return evaluate(
            skill,
            "optimization",
            engine,
            None,
            batching="strict",
            live_episodes=4,
            workers=2,
            rounds=rounds,
            stop=threading.Event(),
        )

    with ThreadPoolExecutor(len(skills)) as pool:
        futures = {skill.name: pool.submit(one, skill) for skill in skills}
    return {name: future.exception() or future.result() for name, future in futures.items()}


@pytest.mark.parametrize("lengths", [[3, 2], [1, 1, 2], [4]])
def test_a_finished_skill_replays_exactly_what_it_asked_when_another_is_tried_again(lengths):
    undisturbed = Recorder()
    play(
        [CountingSkill("first", lengths), CountingSkill("second", [5, 6])],
        undisturbed,
        Rounds(undisturbed, SKILLS, {}),
    )

    engine = Recorder()
    rounds = Rounds(engine, SKILLS, {})
    first, second = CountingSkill("first", lengths), CountingSkill("second", [5, 6], faults=[5])
    outcome = play([first, second], engine, rounds)
    assert isinstance(outcome["second"], MachineFault)
    assert not isinstance(outcome["first"], BaseException)  # it had finished
    engine.batches.clear()
    outcome = play([second], engine, rounds)
    assert not isinstance(outcome["second"], BaseException)
    assert engine.batches == undisturbed.batches


def test_skills_that_play_anew_after_a_broken_round_ask_the_same_again():
    undisturbed = Recorder()
    lengths = {"first": [3, 3], "second": [2, 3]}
    play([CountingSkill(n, lengths[n]) for n in SKILLS], undisturbed, Rounds(undisturbed, SKILLS, {}))
    engine = Recorder()
    rounds = Rounds(engine, SKILLS, {})
    skills = [CountingSkill("first", lengths["first"], faults=[2]), CountingSkill("second", lengths["second"])]
    assert isinstance(play(skills, engine, rounds)["second"], RoundBroken)
    engine.batches.clear()
    play(skills, engine, rounds)
    assert engine.batches == undisturbed.batches


def test_what_a_seat_asked_is_what_the_records_say_was_asked():
    engine = Recorder()
    skill = CountingSkill("first", [3, 1, 2])
    evaluation = play([skill], engine, Rounds(engine, ("first",), {}))["first"]
    assert engine.batches == requests_of(skill, "optimization", evaluation.episodes, live_episodes=4)
