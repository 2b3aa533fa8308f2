"""Evaluators as actors of a Ray cluster, with a real engine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from cycleqd.evaluators.answers import EvaluationFailed
from cycleqd.evaluators.protocol import EvaluatorsMissing
from cycleqd.evaluators.ray_cluster import RayEvaluators, _clear, _processes, _start, remove_orphaned_clusters
from tests.evaluators.conftest import evolve
from tests.processes import processes_with

PATIENCE = 600.0


@pytest.fixture
def ray():
    """Looked for, not imported: that is the evaluators' turn, who first tell it where to listen."""
    if find_spec("ray") is None:
        pytest.skip("pip install 'cycleqd[ray]'")


@pytest.fixture
def of_this_test(monkeypatch, tmp_path):
    """Finds the living processes that this test started."""
    monkeypatch.setenv("CYCLEQD_TEST", str(tmp_path))
    return lambda: processes_with("CYCLEQD_TEST", str(tmp_path))


@pytest.fixture
def folders(monkeypatch):
    """Lists the folders of clusters that were started by this test and are there still."""
    # Its path is short, as sockets' are: too long below pytest's own.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)  # what was found before
        yield lambda: list(Path(folder).glob("ray-*"))


def wait_for(check, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pid_of(evaluators, place):
    """The process of an actor; waits until there is one."""
    wait_for(lambda: place in evaluators._actors)
    return evaluators._ray.get(evaluators._actors[place].ready.remote(), timeout=PATIENCE)


def test_without_its_package_the_install_command_is_told(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EvaluatorsMissing, match=r"pip install 'cycleqd\[ray\]'"):
        RayEvaluators(run, count=1, threads=1)


@pytest.mark.slow
def test_the_archives_are_those_of_one_evaluator_also_when_an_actor_is_killed_over_a_child(
    alone, run, ray, of_this_test, folders, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    evaluators = RayEvaluators(run, count=2, threads=1)
    try:
        killed, waiting = [], []

        def submit(ws, individual, part):
            future = evaluators.submit(individual, part)
            waiting.append(future)
            if not killed:
                killed.append(pid_of(evaluators, 0))
                os.kill(killed[0], signal.SIGKILL)
            return lambda: future.result(PATIENCE)

        assert evolve(run, submit) == alone
        assert pid_of(evaluators, 0) != killed[0]
        outcomes = [future.result() for future in waiting]
        assert len({outcome.evaluator for outcome in outcomes}) == 2
        assert all(outcome.evaluator.startswith("ray ") for outcome in outcomes)
        # Its engine is there already, and the weights in it change.
        with pytest.raises(EvaluationFailed, match="no-such-individual"):
            evaluators.submit("no-such-individual", "optimization").result(PATIENCE)
    finally:
        evaluators.close()
    evaluators.close()
    assert not evaluators._ray.is_initialized()
    wait_for(lambda: not of_this_test(), seconds=60)
    assert not list(Path(tmp_path).rglob("auth_token"))  # nothing below the home
    assert folders() == []
    with pytest.raises(RuntimeError, match="closed"):
        evaluators.submit("base", "optimization")


@pytest.mark.slow
def test_closing_ends_what_is_played_and_every_process(run, ray, of_this_test, folders):
    evaluators = RayEvaluators(run, count=1, threads=1)
    waiting = [evaluators.submit(f"expert-{name}", "test") for name in ("x", "y", "z")]
    pid_of(evaluators, 0)
    evaluators.close()
    wait_for(lambda: not of_this_test(), seconds=60)
    assert folders() == []
    for future in waiting:
        with pytest.raises(BaseException):  # noqa: B017, PT011 -- cancelled, stopped, or failed before
            future.result(PATIENCE)


COORDINATOR = """
import sys, time
from cycleqd.evaluators.ray_cluster import RayEvaluators
from cycleqd.run.names import RunRef

evaluators = RayEvaluators(RunRef(run_id="seg", storage=sys.argv[1]), count=1, threads=1)
evaluators._living(0)
print(evaluators._ray.get_runtime_context().gcs_address, flush=True)
time.sleep(3600)
"""


ENTER = """
import sys
from cycleqd.evaluators.ray_cluster import RayEvaluators
from cycleqd.run.names import RunRef

run = RunRef(run_id="seg", storage=sys.argv[1])
evaluators = RayEvaluators(run, count=1, threads=1, address=sys.argv[2], resources={"CPU": 0.5})
try:
    outcome = evaluators.submit("base", "test").result(600)
    print(len(outcome.evaluated), evaluators._ray.get(evaluators._actors[0].ready.remote()), flush=True)
finally:
    evaluators.close()
"""


@pytest.mark.slow
def test_a_cluster_that_was_there_stays_and_ends_with_the_process_that_started_it(run, ray, of_this_test, folders):
    # As whoever enters a cluster that asks for a token, on the loopback. In a process of its own: Ray reads this when
    # it is imported, and with another one it waits for minutes.
    told = {"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment = {**os.environ, **told}
    coordinator = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, run.storage], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        address = coordinator.stdout.readline().strip()
        command = [sys.executable, "-c", ENTER, run.storage, address]
        entered = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=environment, timeout=PATIENCE, check=True
        )
        skills, scored = map(int, entered.stdout.split()[-2:])
        assert skills == 2
        wait_for(lambda: not Path(f"/proc/{scored}").exists(), seconds=60)
        assert len(of_this_test()) > 1
        assert coordinator.poll() is None
        remove_orphaned_clusters()
        assert len(folders()) == 1  # nobody's but the living one's
    finally:
        coordinator.kill()
        coordinator.wait()
    wait_for(lambda: not of_this_test(), seconds=60)
    remove_orphaned_clusters()  # as the next that is started here
    assert folders() == []


def test_an_address_where_no_cluster_is_is_named(run, ray):
    with pytest.raises(ConnectionError, match=r"evaluators\.address: no Ray cluster answers at 127\.0\.0\.1:9"):
        RayEvaluators(run, count=1, threads=1, address="127.0.0.1:9")


class Busy:
    """In the place of Ray: a cluster that comes up in part, and not in time."""

    def __init__(self, late):
        self.late, self.started = late, []

    def init(self, address, *, _temp_dir, **options):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"{_temp_dir}/session"])
        self.started.append((process, Path(_temp_dir)))
        if len(self.started) <= self.late:
            raise Exception("The current node timed out during startup.")

    def shutdown(self):
        pass


def test_a_cluster_that_does_not_come_up_in_time_is_started_again_and_leaves_nothing(folders):
    ray = Busy(late=1)
    folder = _start(ray, 1, {})
    (late, gone), (process, there) = ray.started
    try:
        assert late.wait(PATIENCE) == -signal.SIGKILL
        assert not gone.exists()
        assert folder == there
        assert process.poll() is None
    finally:
        _clear(folder, _processes(folder))
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_a_cluster_that_never_comes_up_is_a_fault_that_may_be_tried_again(folders):
    ray = Busy(late=9)
    with pytest.raises(ConnectionError, match="does not start, at 3 attempts: The current node timed out"):
        _start(ray, 1, {})
    for process, folder in ray.started:
        assert process.wait(PATIENCE) == -signal.SIGKILL
        assert not folder.exists()


WRITER = """
import os, time
from pathlib import Path

while True:
    Path(os.environ["LOGS"]).mkdir(parents=True, exist_ok=True)
    Path(os.environ["LOGS"], str(time.monotonic_ns())).touch()
"""
STARTER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[2]]); time.sleep(600)"


def test_nothing_is_left_of_a_cluster_whose_agents_write_to_the_end(tmp_path, monkeypatch):
    folder = tmp_path / "ray-x"
    monkeypatch.setenv("LOGS", str(folder / "logs"))  # as Ray's agents, it does not name the folder itself
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(folder), WRITER])
    wait_for(lambda: (folder / "logs").exists(), seconds=60)
    _clear(folder, _processes(folder))
    assert starter.wait(PATIENCE) == -signal.SIGKILL
    assert processes_with("LOGS", str(folder / "logs")) == []
    assert not folder.exists()
