"""Who gets which child."""

import threading

import pytest

from cycleqd.evaluation.rounds import EvaluationStopped
from cycleqd.evaluators.dispatch import Died, Dispatch
from cycleqd.evaluators.protocol import ATTEMPTS, EvaluatorLost, Outcome
from cycleqd.run.records import Split

PATIENCE = 30.0


def outcome(place):
    return Outcome(evaluator=f"place-{place}", evaluated=[], split=Split())


@pytest.fixture
def dispatches():
    """Opens dispatches that end with the test."""
    opened = []

    def open_(count, score):
        opened.append(Dispatch("run", "test", count, score, advice="set this"))
        return opened[-1]

    yield open_
    for dispatch in opened:
        dispatch.stop()
        dispatch.join()


def test_whoever_is_free_takes_the_next_child(dispatches):
    slow = threading.Event()

    def score(place, individual, part):
        if individual == "slow":
            assert slow.wait(PATIENCE)
        return outcome(place)

    dispatch = dispatches(2, score)
    first = dispatch.submit("slow", "test")
    others = [dispatch.submit(f"g{number:04d}", "test") for number in range(5)]
    assert len({future.result(PATIENCE).evaluator for future in others}) == 1  # the other one is still at the first
    slow.set()
    assert first.result(PATIENCE).evaluator != others[0].result().evaluator


def test_the_child_of_a_dead_evaluator_comes_before_later_ones(dispatches):
    order, begun = [], threading.Event()

    def score(place, individual, part):
        assert begun.wait(PATIENCE)
        order.append(individual)
        if len(order) == 1:
            raise Died("gone")
        return outcome(place)

    dispatch = dispatches(1, score)
    futures = [dispatch.submit(individual, "test") for individual in "abc"]
    begun.set()
    for future in futures:
        future.result(PATIENCE)
    assert order == ["a", "a", "b", "c"]


def test_a_child_over_which_all_die_is_given_up_with_what_to_do_and_the_next_one_is_scored(dispatches):
    def score(place, individual, part):
        if individual == "deadly":
            raise Died("exit status -9")
        return outcome(place)

    dispatch = dispatches(1, score)
    deadly, next_one = dispatch.submit("deadly", "test"), dispatch.submit("next", "test")
    said = rf"{ATTEMPTS} evaluators died while they scored deadly \(exit status -9, .*\); set this"
    with pytest.raises(EvaluatorLost, match=said):
        deadly.result(PATIENCE)
    assert next_one.result(PATIENCE).evaluator == "place-0"


def test_once_stopped_nothing_is_begun_nor_done_again(dispatches):
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def score(place, individual, part):
        asked.append(individual)
        begun.set()
        assert go_on.wait(PATIENCE)
        raise Died("ended")

    dispatch = dispatches(1, score)
    playing, waiting = dispatch.submit("playing", "test"), dispatch.submit("waiting", "test")
    assert begun.wait(PATIENCE)
    assert dispatch.stop()
    assert not dispatch.stop()
    with pytest.raises(EvaluationStopped):
        dispatch.check_running()
    go_on.set()
    dispatch.join()
    with pytest.raises(EvaluationStopped):
        playing.result(PATIENCE)
    assert waiting.cancelled()
    assert asked == ["playing"]
    with pytest.raises(RuntimeError, match="closed"):
        dispatch.submit("late", "test")
