import json
import signal
import socket
import sys
import time

import psutil
import pytest

from infra.services import Service, listens, refuse_anothers_port, remove_unused_temporary_folders, temporary_folder

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]


@pytest.fixture
def service(tmp_path):
    service = Service("sleeper", tmp_path)
    yield service
    service.stop()


def test_started_twice_is_one_process(service, tmp_path):
    assert service.start(SLEEP, env={}, folder=tmp_path)
    first = service.process().pid
    assert not service.start(SLEEP, env={}, folder=tmp_path)
    assert service.process().pid == first


def test_stopping_ends_children_too(service, tmp_path):
    parent = f"import subprocess, time; subprocess.Popen({SLEEP!r}); print('here', flush=True); time.sleep(60)"
    service.start([sys.executable, "-c", parent], env={}, folder=tmp_path)
    deadline = time.monotonic() + 20
    while not (children := service.process().children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.stop()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert service.process() is None
    assert not service.stop()


def test_another_process_with_the_noted_pid_is_left_alone(service, tmp_path):
    service.start(SLEEP, env={}, folder=tmp_path)
    file = tmp_path / "pids" / "sleeper.json"
    mine = json.loads(file.read_text())
    file.write_text(json.dumps({**mine, "started": mine["started"] - 5}))
    assert service.process() is None
    service.stop()
    assert psutil.pid_exists(mine["pid"])
    file.write_text(json.dumps(mine))


def test_a_process_that_ends_at_once_is_reported_with_its_log(service, tmp_path):
    service.start([sys.executable, "-c", "raise SystemExit('no such database')"], env={}, folder=tmp_path)
    with pytest.raises(RuntimeError, match="no such database"):
        service.wait_until(lambda: False, seconds=20)


def test_temporary_folders_of_services_that_are_gone_are_removed(service, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    used, left = temporary_folder(), tmp_path / "cqw-left"
    left.mkdir()
    service.start([sys.executable, "-c", "import time; time.sleep(60)"], env={"TMPDIR": str(used)}, folder=tmp_path)
    remove_unused_temporary_folders()
    assert used.is_dir()
    assert not left.exists()
    service.stop()
    remove_unused_temporary_folders()
    assert not used.exists()


def test_a_port_on_which_something_else_listens_is_refused(service, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port}, which sleeper needs: set CYCLEQD_PORT"):
            refuse_anothers_port(service, port)
        service.start(SLEEP, env={}, folder=tmp_path)
        refuse_anothers_port(service, port)  # the service runs: it is taken to be its own
    assert not listens(port)


def test_a_service_hears_interrupts_whoever_starts_it(service, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    try:
        service.start(SLEEP, env={}, folder=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    process = service.process()
    while b"here" not in service.log.read_bytes():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    assert b"KeyboardInterrupt" in service.log.read_bytes()
