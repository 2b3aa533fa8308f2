import signal
import sys
import threading
import time
import traceback

import pytest

from cycleqd.models.causal_lm.commands import Command, Interrupted

pytestmark = pytest.mark.timeout(60)


class Asked(BaseException):
    """What a cancellation raises in the main thread."""


@pytest.fixture
def interrupted_soon():
    """Sends the main thread a signal that raises, as soon as an event is set and that thread waits for a command."""
    before = signal.signal(signal.SIGUSR1, _ask)

    def after(event):
        def send():
            event.wait(30)
            main = threading.main_thread().ident
            while not _waits_for_a_command(sys._current_frames()[main]):
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGUSR1)

        threading.Thread(target=send, daemon=True).start()

    yield after
    signal.signal(signal.SIGUSR1, before)


def _waits_for_a_command(frame):
    codes = [above.f_code for above, _ in traceback.walk_stack(frame)]
    return codes[0] is threading.Condition.wait.__code__ and Command.wait.__code__ in codes


def _ask(*_):
    raise Asked


@pytest.fixture
def begun():
    """Has a command run by a thread, which then runs another; returns what that one did."""

    def run(command):
        after = []
        next_one = Command(lambda: after.append("next"))

        def work():
            command.run()
            next_one.run()

        threading.Thread(target=work, daemon=True).start()
        return next_one, after

    return run


def test_what_an_action_raises_reaches_whoever_waits(begun):
    command = Command(lambda: 1 / 0)
    begun(command)
    with pytest.raises(ZeroDivisionError):
        command.wait()


def test_an_action_that_nobody_waits_for_any_more_ends_and_its_thread_goes_on(begun, interrupted_soon):
    started, ended_by = threading.Event(), []

    def for_ever():
        try:
            while True:
                started.set()
                time.sleep(0.01)
        except BaseException as error:
            ended_by.append(type(error))
            raise

    command = Command(for_ever)
    next_one, after = begun(command)
    interrupted_soon(started)
    with pytest.raises(Asked):
        command.wait()
    assert command.ended
    assert ended_by == [Interrupted]
    next_one.wait()
    assert after == ["next"]


def test_an_action_that_has_not_begun_does_not_begin(begun, interrupted_soon):
    done, asked = [], threading.Event()
    command = Command(lambda: done.append(1))
    asked.set()
    interrupted_soon(asked)
    with pytest.raises(Asked):
        command.wait()
    assert command.ended
    next_one, after = begun(command)
    next_one.wait()
    assert (done, after) == ([], ["next"])


def test_an_action_that_cannot_be_interrupted_is_not_waited_for_beyond_the_patience(begun, interrupted_soon):
    started, free = threading.Event(), threading.Event()

    def deaf():
        started.set()
        while not free.is_set():
            try:
                time.sleep(0.01)
            except Interrupted:
                continue

    command = Command(deaf)
    next_one, after = begun(command)
    interrupted_soon(started)
    began = time.monotonic()
    with pytest.raises(Asked):
        command.wait(patience=0.2)
    assert time.monotonic() - began < 30
    assert not command.ended
    free.set()
    next_one.wait()
    assert after == ["next"]


def test_an_interruption_that_comes_at_the_end_reaches_nothing_else():
    for _ in range(200):
        after = []
        command = Command(lambda: None)

        def work(command=command, after=after):
            command.run()
            after.extend(range(100))

        thread = threading.Thread(target=work)
        thread.start()
        command._interrupt(patience=1)
        thread.join()
        assert after == list(range(100))
