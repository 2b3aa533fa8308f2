"""The ways in which the drill strikes. Each returns what was hit, or None where there was nothing to hit."""

import os
import signal
import subprocess
import time
from contextlib import suppress

import docker
import psutil

from cycleqd.machine.owner import RUN_LABEL
from tests.drill.scene import ROOT

SEARCH_SECONDS = 20


def flow(scene, life, rng):
    """Kill -9 of the process that works on the run."""
    pid = life.pid
    if pid is None:
        return None
    os.kill(pid, signal.SIGKILL)
    return "the flow's process"


def container(scene, life, rng):
    """Kill -9 of whatever runs in one of the run's containers."""
    client = docker.from_env()
    try:
        deadline = time.monotonic() + SEARCH_SECONDS
        while time.monotonic() < deadline:
            found = client.containers.list(filters={"label": f"{RUN_LABEL}={scene.run_id}"}, ignore_removed=True)
            if found:
                victim = rng.choice(found)
                with suppress(docker.errors.APIError):  # it ended by itself in this moment: take another
                    victim.kill("SIGKILL")
                    return f"a container of {victim.image.tags[0].partition(':')[0] if victim.image.tags else '?'}"
            time.sleep(0.02)
        return None
    finally:
        client.close()


def worker(scene, life, rng):
    """Kill -9 of the Prefect worker; another one is started."""
    return _service(scene, "worker", rng)


def server(scene, life, rng):
    """Kill -9 of the Prefect server; it is started again on its database."""
    return _service(scene, "prefect-server", rng)


def store(scene, life, rng):
    """The object store is gone for a while."""
    outage = rng.uniform(0.5, 10.0)
    scene.gate.kill()
    time.sleep(outage)
    scene.gate.open()
    return f"the object store, for {outage:.1f} s"


def disk(scene, life, rng):
    """The disk that holds the run is full for a while."""
    hold = rng.uniform(1.0, 8.0)
    path = scene.disk / "filler"
    deadline = time.monotonic() + hold
    with path.open("wb") as filler:
        while time.monotonic() < deadline:  # what the run frees meanwhile is taken, too
            with suppress(OSError):
                free = os.statvfs(scene.disk)
                if free.f_bavail:
                    end = filler.seek(0, os.SEEK_END)
                    os.posix_fallocate(filler.fileno(), end, free.f_bavail * free.f_frsize)
            time.sleep(0.05)
    path.unlink()
    return f"the disk, full for {hold:.1f} s"


def dockerd(scene, life, rng):
    """Kill -9 of the Docker engine; it is started again."""
    outage = rng.uniform(0.2, 4.0)
    engines = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "dockerd"]
    if not engines:
        return None
    for engine in engines:
        engine.kill()
    psutil.wait_procs(engines, timeout=10)
    time.sleep(outage)
    bring_back_docker()
    return f"the Docker engine, for {outage:.1f} s and its start"


def bring_back_docker():
    with open(os.devnull, "w") as nowhere:
        subprocess.run(["bash", "infra/setup_docker.sh"], cwd=ROOT, check=True, stdout=nowhere, timeout=120)


def _service(scene, name, rng):
    process = scene.service(name)
    if process is None:
        return None
    outage = rng.uniform(0.2, 6.0)
    process.kill()
    process.wait(timeout=10)
    time.sleep(outage)
    scene.up()
    return f"the {name.removeprefix('prefect-')}, for {outage:.1f} s and its start"


KINDS = {fault.__name__: fault for fault in (flow, container, worker, server, store, disk, dockerd)}
