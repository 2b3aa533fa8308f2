"""How busy the machine was, against what its processors are said to have done."""

from types import SimpleNamespace

import psutil
import pytest

from cycleqd.machine.load import Load


class _Times(SimpleNamespace):
    def _asdict(self):
        return dict(vars(self))


@pytest.fixture
def said(monkeypatch):
    times = _Times(user=10.0, system=5.0, idle=100.0, iowait=1.0, guest=4.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    return times


def test_the_share_that_was_not_idle_since_the_last_call(said):
    load = Load()
    assert load.since() is None
    said.user, said.idle, said.guest = 13.0, 101.0, 7.0  # three of four seconds; a guest's are in `user`
    assert load.since() == pytest.approx(0.75)
    said.iowait += 2.0
    assert load.since() == 0.0


def test_counters_that_run_backwards_give_no_impossible_share(said):
    load = Load()
    said.idle, said.user = 99.0, 13.0  # Linux' idle and iowait may
    assert load.since() == 1.0
    said.user = 1.0
    assert load.since() is None


def test_a_process_that_computes_is_seen():
    load = Load()
    end = psutil.Process().cpu_times().user + 0.3
    while psutil.Process().cpu_times().user < end:
        pass
    assert load.since() > 0.2 / psutil.cpu_count()
