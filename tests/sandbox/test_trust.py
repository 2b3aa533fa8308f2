import os
import time

from cycleqd.sandbox.guest.trust import next_tick


def test_what_was_changed_before_a_tick_has_an_earlier_time(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for number in range(500):
        os.stat(file)  # the kernel tells the next change of what was looked at by its fine clock
        os.utime(file)
        time.sleep(number % 13 * 0.0003)  # at many places between two ticks
        os.stat(file)
        os.utime(file)
        assert next_tick() > file.stat().st_ctime_ns


def test_what_is_changed_after_a_tick_has_no_earlier_time(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for _ in range(100):
        tick = next_tick()
        os.utime(file)
        assert file.stat().st_ctime_ns >= tick
