import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.run.clock import Clock
from cycleqd.run.seconds import Split


def test_phases_add_up_to_the_time_that_passed():
    began = time.monotonic()
    clock = Clock()
    with clock.measuring("train"):
        time.sleep(0.02)
    with clock.measuring("evaluate"):
        time.sleep(0.03)
    phases = clock.phases(generating=0.01)
    passed = time.monotonic() - began
    assert phases.train >= 0.02
    assert phases.generate == 0.01
    assert phases.sandbox >= 0.015
    assert 0.05 <= phases.total <= passed


def test_the_same_activity_in_several_threads_counts_once():
    clock = Clock()
    barrier = threading.Barrier(4)

    def work():
        with clock.measuring("evaluate"):
            barrier.wait()
            time.sleep(0.05)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - began
    assert 0.05 <= clock.phases(0.0).sandbox <= passed


def test_an_activity_that_still_runs_is_counted_so_far():
    clock = Clock()
    with clock.measuring("merge"):
        time.sleep(0.02)
        assert clock.phases(0.0).merge >= 0.02


def test_differences_of_phases_are_what_came_between():
    clock = Clock()
    before = clock.phases(0.0)
    with clock.measuring("merge"):
        time.sleep(0.01)
    spent = clock.phases(0.0) - before
    assert 0.01 <= spent.merge <= spent.total


def test_seconds_that_evaluators_spend_are_divided_as_they_spent_theirs():
    clock = Clock()
    with clock.measuring("elsewhere"):
        time.sleep(0.04)
        clock.scored_elsewhere(Split(transfer=1.0, prefill=2.0, decode=3.0, sandbox=1.0, judge=1.0, idle=2.0))
    phases = clock.phases(0.0)
    assert phases.generate >= 0.02
    assert (phases.merge, phases.sandbox) == pytest.approx((phases.generate / 5, phases.generate * 2 / 5))


@given(st.lists(st.builds(Split, decode=st.floats(0, 100), sandbox=st.floats(0, 100), idle=st.floats(0, 100))))
def test_no_phase_but_other_ever_shrinks_whoever_tells_what(splits):
    began = time.monotonic()
    clock = Clock()
    seen = [clock.phases(0.0)]
    with clock.measuring("elsewhere"):
        for split in splits:
            clock.scored_elsewhere(split)
            seen.append(clock.phases(0.0))
    assert all(later.generate >= sooner.generate for sooner, later in pairwise(seen))
    assert all(later.sandbox >= sooner.sandbox for sooner, later in pairwise(seen))
    assert seen[-1].total <= time.monotonic() - began + 1e-6
