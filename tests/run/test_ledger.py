import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.run.ledger import ORDER, Ledger
from cycleqd.run.records import GenerationRecord, Phases, Score, Split


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.sampled_from(ORDER), st.booleans(), st.floats(0, 5)), max_size=30))
def test_the_parts_add_up_to_the_time_that_passed_whatever_overlaps(steps):
    clock = Hand()
    ledger = Ledger(clock)
    running = {work: [] for work in ORDER}
    for work, begins, seconds in steps:
        if begins:
            block = ledger.doing(work)
            block.__enter__()
            running[work].append(block)
        elif running[work]:
            running[work].pop().__exit__(None, None, None)
        clock.now += seconds
    assert ledger.split().total == pytest.approx(clock.now)


def test_a_second_that_several_claim_is_the_engines():
    clock = Hand()
    ledger = Ledger(clock)
    with ledger.doing("sandbox"):
        clock.now += 1
        with ledger.doing("generate"):
            clock.now += 2
        with ledger.doing("judge"):
            clock.now += 4
    clock.now += 8
    found = ledger.split(prefill=0.5)
    assert (found.sandbox, found.prefill, found.decode, found.judge, found.idle) == (1, 0.5, 1.5, 4, 8)


def test_storing_counts_as_that_inside_of_a_merge():
    clock = Hand()
    ledger = Ledger(clock)
    with ledger.doing("merge"):
        clock.now += 1
        with ledger.doing("store"):
            clock.now += 2
    assert (ledger.split().merge, ledger.split().store) == (1, 2)


def test_the_same_activity_in_several_threads_counts_once():
    clock = Hand()
    ledger = Ledger(clock)
    inside, out = threading.Barrier(5), threading.Event()

    def work():
        with ledger.doing("sandbox"):
            inside.wait()
            out.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    inside.wait()
    clock.now += 3
    out.set()
    for thread in threads:
        thread.join()
    assert ledger.split().sandbox == 3


def test_splits_are_added_and_taken_from_each_other():
    one, two = Split(merge=1, idle=2), Split(merge=3, idle=5, evaluator="process-0")
    assert one + two == Split(merge=4, idle=7, evaluator="process-0")
    assert two - one == Split(merge=2, idle=3)
    assert one - two == Split()  # read off in the wrong order, or rounded: never below 0


def test_a_record_without_a_split_is_what_it_was_before_there_were_any():
    record = GenerationRecord(
        generation=0,
        archive="os",
        individual="g0000",
        genome="x",
        parents=[],
        scores={"os": Score.of([1.0])},
        cells={},
        seconds=Phases(),
    )
    assert "split" not in record.model_dump(mode="json")
    assert GenerationRecord.model_validate(record.model_dump(mode="json")) == record
    measured = record.model_copy(update={"split": Split(decode=2.0)})
    assert GenerationRecord.model_validate(measured.model_dump(mode="json")) == measured
