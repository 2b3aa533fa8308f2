import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from cycleqd.models.side_by_side import Gate, share_of_threads


def test_several_step_at_a_time():
    gate, meeting = Gate(), threading.Barrier(3, timeout=20)

    def step(_):
        with gate.stepping():
            meeting.wait()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(step, range(3)))


def test_whoever_builds_is_alone():
    gate, inside, seen = Gate(), set(), []

    def work(number):
        for turn in range(20):
            builds = (number + turn) % 3 == 0
            with gate.building() if builds else gate.stepping():
                inside.add((number, builds))
                time.sleep(0.0005)
                seen.append((builds, frozenset(inside)))
                inside.discard((number, builds))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert all(len(others) == 1 for builds, others in seen if builds)
    assert len(seen) == 80


def test_steps_that_begin_while_somebody_waits_to_build_come_after_it():
    gate, order = Gate(), []

    def build():
        with gate.building():
            order.append("built")

    def step():
        with gate.stepping():
            order.append("stepped")

    with ThreadPoolExecutor(2) as pool, gate.stepping():
        pool.submit(build)
        time.sleep(0.1)  # it waits for us by then; if not, the order is right all the same
        pool.submit(step)
        time.sleep(0.02)
    assert order == ["built", "stepped"]


def test_a_share_is_the_same_for_all_and_ends_with_the_block():
    whole, both, ended = torch.get_num_threads(), threading.Barrier(2, timeout=20), threading.Event()
    torch.set_num_threads(4)

    def first():
        with share_of_threads(2):
            both.wait()
            seen = torch.get_num_threads()
        ended.set()
        return seen, torch.get_num_threads()

    def second():
        with share_of_threads(2):
            both.wait()
            assert ended.wait(20)
            seen = torch.get_num_threads()
        return seen, torch.get_num_threads()

    try:
        with ThreadPoolExecutor(2) as pool:
            assert [one.result() for one in (pool.submit(first), pool.submit(second))] == [(2, 4), (2, 4)]
        with share_of_threads(1):
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(whole)
