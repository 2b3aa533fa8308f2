"""Who of several children in flight is committed first; no engine, no server."""

from contextlib import closing
from importlib import import_module
from types import SimpleNamespace

import pytest
from prefect.exceptions import Pause

from cycleqd.run.names import RunRef
from cycleqd.run.records import Split
from tasks.scoring import Countdown

evolve = import_module("flows.evolve")
RUN = RunRef(run_id="x", storage="nowhere")


class Scoring:
    """Evaluations that end at once, or when somebody says so."""

    split = fault = None

    def __init__(self, slow):
        self.slow, self.abandoned, self.end = slow, False, None

    def on_end(self, call):
        self.end = call
        if not self.slow:
            call()

    def result(self):
        return {}

    def abandon(self):
        self.abandoned = True
        if self.fault:
            raise self.fault


@pytest.fixture
def slow():
    """Children that do not end by themselves."""
    return set()


@pytest.fixture
def begun(monkeypatch, slow):
    """Children whose evaluation began, by number."""
    found = {}

    def begin(run, individual, part, options, child):
        found[child] = Scoring(child in slow)
        return found[child]

    monkeypatch.setattr(evolve, "begin_scoring", begin)
    monkeypatch.setattr(evolve.evolution, "breed", lambda run, child: (f"g{child:04d}", "optimization"))
    return found


def scored(commit, told=(), total=5, in_flight=2):
    search = SimpleNamespace(commit=commit, in_flight=in_flight)
    ws = SimpleNamespace(
        config=SimpleNamespace(search=search, tasks=None), evaluator=SimpleNamespace(split=lambda: Split())
    )
    return closing(evolve._scored(RUN, ws, told, total))


def test_a_slow_first_child_does_not_hold_the_others_back(begun, slow):
    slow.add(0)
    found = []
    with scored("completion") as children:
        for child, _, _ in children:
            found.append(child)
            if child == 4:
                begun[0].end()
    assert found == [1, 2, 3, 4, 0]


def test_in_order_whoever_is_faster_waits(begun):
    with scored("order") as children:
        assert [child for child, _, _ in children] == [0, 1, 2, 3, 4]


def test_a_run_that_is_continued_takes_up_what_was_in_flight(begun):
    with scored("completion", told=[1, 2]) as children:
        assert next(children).child == 0
        assert list(begun) == [0, 3]
        assert [child for child, _, _ in children] == [3, 4]


def test_whoever_is_under_way_at_the_end_is_abandoned_and_nobody_else(begun, slow):
    slow.update((0, 3))
    with scored("completion", in_flight=3) as children:
        assert [next(children).child for _ in range(2)] == [1, 2]
    assert {child: one.abandoned for child, one in begun.items()} == {0: True, 1: False, 2: False, 3: True}


def test_all_are_abandoned_in_a_suspended_run_where_whoever_waits_for_a_task_raises(begun, slow):
    slow.update((0, 3))
    with pytest.raises(Pause), scored("completion", in_flight=3) as children:  # noqa: PT012 -- raised at its end
        assert [next(children).child for _ in range(2)] == [1, 2]
        begun[0].fault = begun[3].fault = Pause()
    assert {child for child, one in begun.items() if one.abandoned} == {0, 3}


def test_the_last_of_several_events_calls():
    called = []
    left = Countdown(3, lambda: called.append(True))
    for expected in ([], [], [True]):
        left.one_less()
        assert called == expected
