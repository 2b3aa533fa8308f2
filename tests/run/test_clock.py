import threading
import time

from cycleqd.run.clock import Clock


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
