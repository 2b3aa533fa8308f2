import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cycleqd.config import RunConfig
from cycleqd.machine.owner import current_owner
from cycleqd.run import lease as leases
from cycleqd.run.lease import SKEW, Lease, LeaseLost, LeaseRecord, RunLocked, current_lease
from cycleqd.run.names import LEASE_KEY
from cycleqd.run.store import RunStore

HOLD = """
import sys, time
from cycleqd.run.lease import Lease
from cycleqd.run.store import RunStore
Lease.acquire(RunStore(sys.argv[1], "run"))
print("held", flush=True)
time.sleep(600)
"""

RACE = """
import sys, time
from cycleqd.run.lease import Lease, RunLocked
from cycleqd.run.store import RunStore

for line in sys.stdin:
    store, start = RunStore(line.split()[0], "run"), float(line.split()[1])
    while time.time() < start:
        pass
    try:
        held = Lease.acquire(store)
    except RunLocked:
        print("refused", flush=True)
    else:
        print("held", flush=True)
        sys.stdin.readline()  # hold it until the other one was told
        held.release()
        print("released", flush=True)
        continue
    sys.stdin.readline()
    print("released", flush=True)
"""


@pytest.fixture(params=["file", "memory", "s3"])
def store(request, tmp_path, monkeypatch):
    """The same contract on a disk, on a store without conditions, and on one with conditional puts."""
    monkeypatch.setattr(leases, "SETTLE", 0.01)
    roots = {"file": lambda: str(tmp_path / "runs"), "memory": lambda: f"memory://{tmp_path.name}"}
    root = roots.get(request.param, lambda: request.getfixturevalue("bucket"))()
    store = RunStore(root, "run")
    store.open(RunConfig(run_id="run"))
    return store


def stranger(store, **changes):
    """A lease that another machine's process holds."""
    now = time.time()
    values = {
        "host": "far", "pid": 7, "owner": "another-boot:4026:7:99", "token": "t", "acquired": "2030-01-01T00:00:00Z",
        "expires": now + 60,
    }  # fmt: skip
    record = LeaseRecord(**(values | changes))
    store._fs.pipe_file(f"{store._root}/{LEASE_KEY}", record.model_dump_json().encode())
    return record


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_second_writer_is_refused_with_who_since_when_and_what_to_do(store):
    held = Lease.acquire(store)
    with pytest.raises(RunLocked, match=rf"process {os.getpid()} on .*since .*until .*Wait for it or stop it"):
        Lease.acquire(store)
    held.release()
    Lease.acquire(store).release()
    assert current_lease(store) is None


def test_reading_tells_who_holds_it(store):
    assert current_lease(store) is None
    held = Lease.acquire(store)
    assert current_lease(store).pid == os.getpid()
    held.release()
    held.release()


def test_renewals_keep_it_alive_past_its_first_expiry(store):
    held = Lease.acquire(store, ttl=0.4)
    first = held.record.expires
    wait_for(lambda: time.time() > first + 0.1)
    held.check()
    assert held.record.expires > first
    held.release()


def test_another_machines_lease_is_taken_over_after_expiry_and_skew_only(store):
    stranger(store, expires=time.time() - SKEW / 2)
    with pytest.raises(RunLocked, match="process 7 on far"):
        Lease.acquire(store)
    stranger(store, expires=time.time() - SKEW - 1)
    Lease.acquire(store).release()


def test_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(store):
    boot, namespace, pid, start = current_owner().split(":")
    stranger(store, owner=f"{boot}:{namespace}:{pid}:{int(start) - 1}")  # the pid was used again
    Lease.acquire(store).release()


def test_holder_whose_lease_was_taken_over_is_told_and_may_not_write(store):
    lost = threading.Event()
    held = Lease.acquire(store, ttl=0.4, on_loss=lost.set)
    taker = stranger(store)
    assert lost.wait(5)
    with pytest.raises(LeaseLost, match="Start the run again"):
        held.check()
    held.release()
    assert current_lease(store) == taker


def test_holder_that_cannot_renew_gives_up_at_the_expiry(store, monkeypatch):
    lost = threading.Event()
    held = Lease.acquire(store, ttl=0.6, on_loss=lost.set)

    def unreachable(*args):
        raise OSError("connection reset")

    monkeypatch.setattr(held._slot, "read", unreachable)
    assert not lost.wait(0.2)
    assert lost.wait(5)
    with pytest.raises(LeaseLost):
        held.check()


def test_holder_that_slept_past_its_expiry_goes_on_if_nobody_took_over(store):
    held = Lease.acquire(store)
    held.record = held.record.model_copy(update={"expires": time.time() - 1})
    held.check()
    assert held.record.expires > time.time()
    held.release()


def test_unreadable_lease_is_refused_with_the_remedy(store):
    store._fs.pipe_file(f"{store._root}/{LEASE_KEY}", b"{")
    with pytest.raises(RunLocked, match="remove the file"):
        Lease.acquire(store)


def test_lease_names_no_secrets(store):
    held = Lease.acquire(store)
    content = json.loads(store._fs.cat_file(f"{store._root}/{LEASE_KEY}"))
    assert set(content) == {"host", "pid", "owner", "token", "acquired", "expires"}
    held.release()


def test_kill_minus_nine_frees_the_run_for_the_next_process(tmp_path):
    store = RunStore(str(tmp_path), "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match=f"process {holder.pid} on"):
            Lease.acquire(store)
        holder.send_signal(signal.SIGKILL)
        wait_for(lambda: current_lease(store) is None)  # even before its parent asked for its exit code
        Lease.acquire(store).release()
    finally:
        holder.kill()
        holder.communicate()


def test_of_two_racing_processes_exactly_one_wins(tmp_path):
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    def tell(line):
        for racer in racers:
            racer.stdin.write(f"{line}\n")
            racer.stdin.flush()
        return sorted(racer.stdout.readline().strip() for racer in racers)

    try:
        for number in range(50):
            if number % 2:  # every other time there is an expired lease to take over
                (tmp_path / str(number) / "run").mkdir(parents=True)
                stranger(RunStore(str(tmp_path / str(number)), "run"), expires=0.0)
            # The first start waits for both interpreters' imports, the others need but a moment.
            assert tell(f"{tmp_path / str(number)} {time.time() + (0.02 if number else 0.5)}") == ["held", "refused"]
            assert tell("go on") == ["released", "released"]
    finally:
        for racer in racers:
            racer.communicate()
