from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from cycleqd.machine.owner import OWNER_LABEL, RUN_LABEL, current_owner, is_gone
from cycleqd.sandbox import Limits, Sandboxes, SandboxUnavailable, image_tags, missing_images, pool, reap
from cycleqd.sandbox.container_host import ContainerHost

pytestmark = pytest.mark.docker

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import signal, sys, time
from cycleqd.sandbox import Sandboxes
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
def hold():
    sandboxes = Sandboxes(run_id=sys.argv[1])
    kept = [sandboxes.shell(), sandboxes.runner(), sandboxes.database()]
    kept[0].run("sleep 1000 &")
    print("ready", flush=True)
    {then}
hold()
"""


@pytest.fixture
def run_id(client: docker.DockerClient) -> Iterator[str]:
    name = f"tests-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    reap(name)


@pytest.fixture
def count(client: docker.DockerClient, run_id: str) -> Callable[[], int]:
    """How many containers there are of the test's run."""
    return lambda: len(client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={run_id}"}))


def eventually(count: Callable[[], int], expected: int) -> bool:
    deadline = time.monotonic() + 20
    while count() != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return count() == expected


def holder(run_id: str, then: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(then=then), run_id], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_close_removes_everything(run_id: str, count: Callable[[], int]) -> None:
    sandboxes = Sandboxes(run_id=run_id)
    shell, _, server = sandboxes.shell(), sandboxes.runner(), sandboxes.database()
    assert count() == 3
    sandboxes.close()
    sandboxes.close()
    assert count() == 0
    shell.close()
    server.close()
    for start in (sandboxes.shell, sandboxes.runner, sandboxes.database):
        with pytest.raises(SandboxUnavailable, match="closed"):
            start()


def test_an_exception_removes_everything(run_id: str, count: Callable[[], int]) -> None:
    def fail() -> None:
        with Sandboxes(run_id=run_id) as sandboxes:
            sandboxes.shell()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert count() == 0


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGKILL", "return"])
def test_a_process_that_ends_in_any_way_leaves_no_container(
    run_id: str, count: Callable[[], int], ending: str
) -> None:
    process = holder(run_id, "return" if ending == "return" else "time.sleep(1000)")
    if ending != "return":
        assert count() == 3
        process.send_signal(signal.Signals[ending])
    process.wait(timeout=30)
    assert eventually(count, 0)
    reap()
    assert not list(Path(tempfile.gettempdir()).glob(f"cycleqd-*_{process.pid}_*"))


def test_at_most_so_many_shells_run_at_a_time(run_id: str, count: Callable[[], int]) -> None:
    with Sandboxes(run_id=run_id, max_containers=2) as sandboxes, ThreadPoolExecutor(1) as threads:
        first, _second = sandboxes.shell(), sandboxes.shell()
        third = threads.submit(sandboxes.shell)
        time.sleep(0.3)
        assert not third.done()
        assert count() == 2
        first.close()
        assert third.result(timeout=20).run("echo hi").output == "hi\n"


def test_those_who_wait_for_a_turn_are_told_of_the_close(run_id: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with Sandboxes(run_id=run_id, max_containers=1) as sandboxes:
            sandboxes.shell()
            waiting = threads.submit(sandboxes.shell)
            time.sleep(0.1)
        with pytest.raises(SandboxUnavailable, match="closed"):
            waiting.result(timeout=5)


def test_a_failed_start_gives_its_turn_back_and_names_the_remedy(run_id: str) -> None:
    with Sandboxes(run_id=run_id, max_containers=1, images={"other": "cycleqd-nothing:none"}) as sandboxes:
        for _ in range(2):
            with pytest.raises(SandboxUnavailable, match="make images"):
                sandboxes.shell(image="other")
            with pytest.raises(SandboxUnavailable, match="no Dockerfile"):
                sandboxes.shell(image="unheard-of")
        assert sandboxes.shell().run("echo hi").output == "hi\n"


def test_an_interrupt_during_a_start_leaves_nothing(
    run_id: str, count: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandboxes = Sandboxes(run_id=run_id, max_containers=1)
    create = ContainerHost.create

    def interrupted(*arguments: object, **options: object) -> None:
        create(*arguments, **options)  # type: ignore[arg-type]  # passed through
        raise KeyboardInterrupt

    with sandboxes:
        monkeypatch.setattr(ContainerHost, "create", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandboxes.shell()
        assert eventually(count, 0)
        monkeypatch.undo()
        assert sandboxes.shell().run("echo hi").output == "hi\n"


def test_the_reaper_removes_what_the_dead_own_and_nothing_else(
    run_id: str, count: Callable[[], int], client: docker.DockerClient
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    boot, namespace, *_ = current_owner().split(":")
    owners = [f"{boot}:{namespace}:{gone.pid}:1", f"{boot}:{namespace}:{os.getpid()}:1"]
    # Another machine that uses this engine, too, may be about to start the last one.
    spared = [current_owner(), f"{boot}:1:{gone.pid}:1", "a person's label", f"other:{namespace}:1:1"]
    for owner in owners + spared:
        labels = {RUN_LABEL: run_id, OWNER_LABEL: owner}
        client.containers.create(image_tags()["shell"], labels=labels)
    assert reap() >= len(owners)
    assert count() == len(spared)
    assert reap(run_id) == len(spared)
    assert count() == 0
    assert reap(run_id) == 0


def test_containers_of_before_a_reboot_are_removed_and_those_that_another_machine_runs_are_not(
    run_id: str, count: Callable[[], int], client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {RUN_LABEL: run_id, OWNER_LABEL: "other:4026531836:1:1"}
    client.containers.create(image_tags()["shell"], labels=labels)
    running = client.containers.run(
        image_tags()["shell"], ["sleep", "600"], labels=labels, detach=True, network_disabled=True
    )
    monkeypatch.setattr(pool, "STARTING_SECONDS", -600)
    assert reap() >= 1
    assert count() == 1
    running.reload()
    assert running.status == "running"
    assert reap(run_id) == 1


def test_the_living_and_their_children_are_told_from_the_dead() -> None:
    assert not is_gone(current_owner())
    assert current_owner().split(":")[2] == str(os.getpid())
    assert not is_gone("not a label")


def test_an_absent_engine_is_unavailable_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for use in (lambda: Sandboxes(run_id="none"), reap, missing_images):
        with pytest.raises(SandboxUnavailable, match=r"infra/setup_docker\.sh"):
            use()


def test_containers_are_confined(run_id: str, client: docker.DockerClient) -> None:
    limits = Limits(memory_mb=100, tmpfs_mb=4, pids=30, cpus=0.5)
    with Sandboxes(run_id=run_id, limits=limits) as sandboxes:
        started = [sandboxes.shell(), sandboxes.runner(), sandboxes.database()]
        for session in started:
            facts = client.api.inspect_container(session._channel._name)  # type: ignore[attr-defined]  # all have it
            host = facts["HostConfig"]
            assert facts["Config"]["NetworkDisabled"] is True
            assert host["NetworkMode"] == "none"
            assert host["CapDrop"] == ["ALL"]
            assert "no-new-privileges" in host["SecurityOpt"]
            assert host["Memory"] == host["MemorySwap"] > 0
            assert 0 < host["PidsLimit"] <= 256
            assert host["NanoCpus"] > 0
            assert not host["Privileged"]
            assert host["LogConfig"]["Type"] == "none"
            assert facts["Config"]["Labels"][RUN_LABEL] == run_id
            assert all("size=" in options for options in host["Tmpfs"].values())
            assert host["ReadonlyRootfs"] is (session is not started[0])
        assert client.api.inspect_container(started[2]._channel._name)["Config"]["User"] not in ("", "0", "0:0")  # type: ignore[attr-defined]  # likewise


def test_no_container_gets_more_cpus_than_there_are(run_id: str, client: docker.DockerClient) -> None:
    there = client.info()["NCPU"]
    with Sandboxes(run_id=run_id, limits=Limits(cpus=0.6 * there)) as sandboxes:
        started = [sandboxes.shell(), sandboxes.runner(), sandboxes.database()]
        found = [
            client.api.inspect_container(session._channel._name)["HostConfig"]["NanoCpus"] / 1e9  # type: ignore[attr-defined]  # all have it
            for session in started
        ]
    assert found == [0.6 * there, there, there]


def test_a_pool_needs_at_least_one_container() -> None:
    with pytest.raises(ValueError, match="max_containers must be at least 1"):
        Sandboxes(run_id="none", max_containers=0)


def test_many_threads_start_and_end_sessions_without_a_trace(run_id: str, count: Callable[[], int]) -> None:
    with Sandboxes(run_id=run_id, max_containers=3) as sandboxes:
        before = set(threading.enumerate())

        def episode(number: int) -> str:
            with sandboxes.shell() as shell:
                return shell.run(f"echo {number}").output

        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(episode, range(12))) == [f"{number}\n" for number in range(12)]
        assert count() == 0
        assert set(threading.enumerate()) <= before


def test_a_temporary_folder_too_deep_for_a_socket_is_named_at_once(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with Sandboxes(run_id=run_id) as sandboxes, pytest.raises(SandboxUnavailable, match="set a shorter TMPDIR"):
        sandboxes.database()
    assert not list(deep.iterdir())
