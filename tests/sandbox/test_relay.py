"""A database server whose Docker engine sees no folder of ours, over TCP, as one on another host."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest

from cycleqd.sandbox import Database, DatabaseServer, Limits, Sandboxes, SandboxUnavailable, Table
from cycleqd.sandbox.container_host import ContainerHost
from cycleqd.sandbox.database import ThroughTheEngine
from cycleqd.sandbox.database.relay import Relayed

PEOPLE = Table("people", ("name", "age"), (("Ann", "31"), ("Bob", None), ("Zoë 😀", "7")))


class _ToTheEngine(socketserver.BaseRequestHandler):
    """Passes a connection over TCP on to the engine's own socket."""

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            engine.connect("/var/run/docker.sock")
            back = threading.Thread(target=_pass_on, args=(engine, self.request), daemon=True)
            back.start()
            _pass_on(self.request, engine)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[None]:
    """An engine at a TCP address, for which no folder that we name is there."""
    create: Callable[..., socket.socket] = ContainerHost.create

    def create_there(
        host: ContainerHost, *given: Any, shared: Mapping[str, str] | None = None, **options: Any
    ) -> socket.socket:
        there = {inside: f"{path}-there" for inside, path in (shared or {}).items()}
        return create(host, *given, shared=there, **options)

    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _ToTheEngine) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        proxy.daemon_threads = True
        proxy.block_on_close = False
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        patch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.server_address[1]}")
        patch.setattr(ContainerHost, "create", create_there)
        yield
        proxy.shutdown()


@pytest.fixture(scope="module")
def pool(elsewhere: None) -> Iterator[Sandboxes]:
    with Sandboxes(run_id="tests-relay", limits=Limits(command_seconds=1.0, sql_rows=50)) as pool:
        yield pool


@pytest.fixture(scope="module")
def server(pool: Sandboxes) -> Iterator[DatabaseServer]:
    with pool.database() as server:
        yield server


@pytest.fixture
def database(server: DatabaseServer) -> Iterator[Database]:
    with server.open([PEOPLE]) as fresh:
        yield fresh


@pytest.mark.docker
def test_the_engine_passes_statements_on_where_it_sees_no_folder_of_ours(
    server: DatabaseServer, database: Database
) -> None:
    assert isinstance(server._way, ThroughTheEngine)
    assert database.execute("SELECT name FROM people WHERE age > 10").rows == (("Ann",),)
    assert database.execute("UPDATE people SET age = '8' WHERE age = '7'").affected == 1
    assert database.content("people") == (("Ann", "31"), ("Bob", None), ("Zoë 😀", "8"))
    assert "You have an error in your SQL syntax" in (database.execute("SELEC 1").error or "")


@pytest.mark.docker
def test_large_values_come_whole_in_both_directions(database: Database) -> None:
    text = "".join(chr(32 + number % 90) for number in range(60_000))
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    assert database.execute(f"SELECT '{quoted}'", characters=200_000).rows == ((text,),)
    assert database.execute("SELECT seq FROM seq_1_to_100000").truncated


@pytest.mark.docker
def test_a_statement_that_does_not_end_is_ended_and_the_next_one_answers(database: Database) -> None:
    ended = database.execute("SET STATEMENT max_statement_time = 0 FOR SELECT BENCHMARK(1000000000000, MD5('x'))")
    assert (ended.error or "").startswith("ERROR 1317")
    assert database.execute("SELECT 1").rows == ((1,),)


@pytest.mark.docker
def test_several_episodes_play_at_a_time(server: DatabaseServer) -> None:
    def play(number: int) -> tuple[tuple[str | None, ...], ...]:
        with server.open([Table("t", ("a",), ((str(number),),))], name=str(number)) as database:
            database.execute("UPDATE t SET a = a * 2")
            return database.content("t")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(play, range(8))) == [((str(2 * number),),) for number in range(8)]


@pytest.mark.docker
def test_the_container_has_neither_network_nor_folder_of_the_host_and_ends_with_the_server(pool: Sandboxes) -> None:
    engine = docker.from_env(timeout=30)
    try:
        with pool.database() as server:
            name = server._channel.name
            attributes = engine.containers.get(name).attrs
            assert attributes["HostConfig"]["NetworkMode"] == "none"
            assert attributes["Mounts"] == []
            with server.open([PEOPLE]) as database:
                engine.containers.get(name).kill()
                with pytest.raises(SandboxUnavailable, match="retry"):
                    database.execute("SELECT 1")
        deadline = time.monotonic() + 60
        while engine.containers.list(
            all=True, filters={"name": name}, ignore_removed=True
        ):  # Docker is removing it by itself
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        engine.close()


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


def test_a_relayed_connection_reads_output_out_of_frames_and_drops_errors() -> None:
    here, there = socket.socketpair()
    with there:
        relayed = Relayed(here)
        assert there.recv(10) == b"\n"  # the relay's sign to begin
        relayed.sendall(b"question")
        assert there.recv(10) == b"question"
        reader = relayed.makefile("rb")
        there.sendall(frame(1, b"ab") + frame(2, b"warning") + frame(1, b"") + frame(1, b"cdef")[:10])
        assert reader.read(3) == b"abc"
        there.sendall(b"ef")
        assert reader.read(2) == b"de"
        relayed.settimeout(0.05)
        with pytest.raises(TimeoutError):
            reader.read(2)
        relayed.close()


def test_a_relayed_connection_ends_with_its_relay() -> None:
    here, there = socket.socketpair()
    relayed = Relayed(here)
    there.recv(1)
    there.sendall(frame(1, b"last")[:-1])
    there.close()
    assert relayed.makefile("rb").read(10) == b"las"
    relayed.close()
    with pytest.raises(ValueError, match="rb"):
        relayed.makefile("wb")
