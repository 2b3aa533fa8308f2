"""One pool for the sandbox tests of a session; limits small enough that hostile commands end soon."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from cycleqd.sandbox import DatabaseServer, Limits, ProgramRunner, Sandboxes, ShellSession


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[Sandboxes]:
    limits = Limits(memory_mb=128, pids=48, tmpfs_mb=8, output_bytes=4_096, command_seconds=20.0)
    with Sandboxes(run_id="tests-shared", limits=limits) as pool:
        yield pool


@pytest.fixture
def shell(sandboxes: Sandboxes) -> Iterator[ShellSession]:
    with sandboxes.shell() as session:
        yield session


@pytest.fixture(scope="module")
def runner(sandboxes: Sandboxes) -> Iterator[ProgramRunner]:
    with sandboxes.runner() as programs:
        yield programs


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    limits = Limits(command_seconds=1.0, sql_rows=50)
    with Sandboxes(run_id="tests-database", limits=limits) as pool, pool.database() as database_server:
        yield database_server


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=30)
    yield client
    client.close()
