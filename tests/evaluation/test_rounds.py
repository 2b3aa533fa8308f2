"""Skills that share batches; the engine is a recorder, because what is asked together is the subject."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.evaluation.rounds import EvaluationStopped, RoundBroken, Rounds
from cycleqd.models.causal_lm.protocol import ChatRequest, Reply

SKILLS = ("coding", "os", "db")


class Recorder:
    """Echoes, and keeps every batch's prompts and scopes."""

    def __init__(self):
        self.batches = []
        self.scopes = []

    def chat(self, requests):
        prompts = [request.messages[0]["content"] for request in requests]
        self.batches.append(prompts)
        self.scopes.append([request.scope for request in requests])
        return [Reply(f"re {prompt}", 1, 1, "stop") for prompt in prompts]

    @contextmanager
    def exclusive(self):
        yield


def asked(skill, turn, count):
    return [
        ChatRequest([{"role": "user", "content": f"{skill} {turn} {index}"}], max_new_tokens=8)
        for index in range(count)
    ]


def play(rounds, skill, counts, *, fail_at=None, stop=None):
    """Asks `counts[r]` requests in round r; fails before the round `fail_at`."""
    with rounds.seat(skill, stop or threading.Event()) as seat:
        for turn, count in enumerate(counts):
            if turn == fail_at:
                raise ConnectionError(skill)
            replies = seat.chat(asked(skill, turn, count))
            assert [reply.text for reply in replies] == [f"re {skill} {turn} {index}" for index in range(count)]


def play_all(rounds, plan, **faults):
    """Plays all skills of `plan` at the same time; returns their faults by skill."""
    with ThreadPoolExecutor(len(plan)) as pool:
        futures = {s: pool.submit(play, rounds, s, counts, fail_at=faults.get(s)) for s, counts in plan.items()}
    return {skill: future.exception() for skill, future in futures.items() if future.exception()}


PLANS = st.fixed_dictionaries(
    {skill: st.lists(st.integers(1, 3), max_size=4).map(lambda c: sorted(c, reverse=True)) for skill in SKILLS}
)


def expected(plan):
    """Round r: the r-th requests of every skill that has some, in the order of the skills."""
    return [
        [f"{s} {r} {i}" for s in SKILLS if r < len(plan[s]) for i in range(plan[s][r])]
        for r in range(max(map(len, plan.values())))
    ]


@settings(max_examples=25, deadline=None)
@given(PLANS)
def test_a_round_holds_the_requests_of_all_skills_that_still_play_in_their_order(plan):
    engine = Recorder()
    assert play_all(Rounds(engine, SKILLS, {}), plan) == {}
    assert engine.batches == expected(plan)


@settings(max_examples=25, deadline=None)
@given(PLANS, st.sets(st.sampled_from(SKILLS), max_size=2))
def test_skills_that_were_finished_before_fill_the_batches_as_they_did(plan, before):
    engine = Recorder()
    finished = {s: [asked(s, turn, count) for turn, count in enumerate(plan[s])] for s in before}
    rounds = Rounds(engine, SKILLS, finished)
    playing = {skill: counts for skill, counts in plan.items() if skill not in before}
    assert play_all(rounds, playing) == {}
    wanted = expected(plan)[: max(map(len, playing.values()))]
    assert engine.batches == wanted


def test_a_failed_skill_breaks_the_round_for_the_others_and_a_retry_repeats_the_same_batches():
    engine = Recorder()
    rounds = Rounds(engine, SKILLS, {})
    plan = {"coding": [2], "os": [2, 2, 1], "db": [1, 1, 1]}
    faults = play_all(rounds, plan, os=2)
    assert set(faults) == {"os", "db"}  # coding was done before
    assert isinstance(faults["db"], RoundBroken)
    assert faults["db"].__cause__ is faults["os"]
    first = list(engine.batches)
    engine.batches.clear()
    assert play_all(rounds, {skill: plan[skill] for skill in ("os", "db")}) == {}
    assert engine.batches[: len(first)] == first
    assert engine.batches == expected(plan)


def test_a_new_attempt_shares_no_cache_with_the_last_and_skills_share_none_with_each_other():
    engine = Recorder()
    rounds = Rounds(engine, ("os", "db"), {})
    play_all(rounds, {"os": [1, 1], "db": [1, 1]}, os=1)
    play_all(rounds, {"os": [1, 1], "db": [1, 1]})
    (failed, *_), (again, later) = engine.scopes[:1], engine.scopes[-2:]
    assert len({*failed, *again}) == 4
    assert again == later


def test_a_finished_skill_may_play_again_when_the_others_are_done():
    engine = Recorder()
    rounds = Rounds(engine, ("os", "db"), {})
    plan = {"os": [2, 1], "db": [1]}
    assert play_all(rounds, plan) == {}
    assert play_all(rounds, {"db": [1]}) == {}
    assert engine.batches[-1] == engine.batches[0]


def test_stopping_ends_the_wait_for_others():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(EvaluationStopped):
        play(Rounds(Recorder(), SKILLS, {}), "os", [1], stop=stop)


def test_the_wait_for_others_has_an_end():
    with pytest.raises(TimeoutError, match=r"did not go on within 0\.1 s: raise tasks\.timeout_seconds"):
        play(Rounds(Recorder(), SKILLS, {}, patience=0.1), "os", [1])


def test_an_engines_fault_reaches_every_skill():
    class Broken(Recorder):
        def chat(self, requests):
            raise ValueError("no")

    faults = play_all(Rounds(Broken(), SKILLS, {}), {skill: [1] for skill in SKILLS})
    assert sorted(type(fault).__name__ for fault in faults.values()) == ["RoundBroken", "RoundBroken", "ValueError"]


def test_a_skill_that_left_is_not_waited_for_though_it_is_still_judging():
    engine = Recorder()
    rounds = Rounds(engine, ("coding", "os"), {})
    with rounds.seat("coding", threading.Event()) as seat, ThreadPoolExecutor(1) as pool:
        other = pool.submit(play, rounds, "os", [1, 1])
        seat.chat(asked("coding", 0, 1))
        seat.leave()
        other.result(timeout=10)
    assert engine.batches == [["coding 0 0", "os 0 0"], ["os 1 0"]]
