"""What a statement may take of a server that others use, too; whose fault it is; what follows a server's death."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import docker
import pymysql
import pytest

from cycleqd.sandbox import DatabaseServer, DatabaseServers, Limits, Sandboxes, SandboxUnavailable, Table
from cycleqd.sandbox.database.faults import is_connection_error, is_of_the_data
from cycleqd.sandbox.database.guard import Guard

PEOPLE = Table("people", ("name", "age"), (("Ann", "31"), ("Bob", None)))
LONG = Table("t", ("a", "b"), tuple((f"row {number} " + "x" * 4_000, str(number)) for number in range(200)))


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def patient(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server that gives a statement time enough to reach its other bounds on a busy machine."""
    limits = Limits(command_seconds=30.0)
    with (
        Sandboxes(run_id="tests-database-bounds", limits=limits) as pool,
        pool.database(image=request.param) as server,
    ):
        yield server


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.a, b.a, c.a FROM t a, t b, t c ORDER BY b.a, a.a, c.a",
        "INSERT INTO t SELECT CONCAT(a.a, b.a, b.a, b.a), c.a FROM t a, t b, t c",
        f"SET {', '.join(f'@v{number} = REPEAT(0, 250000)' for number in range(450))}",
        f"INSERT INTO t (b) VALUES {', '.join(['(REPEAT(0, 60000))'] * 700)}",
    ],
)
def test_what_takes_too_much_is_the_statements_own_fault_and_nobody_elses(patient: DatabaseServer, sql: str) -> None:
    with patient.open([PEOPLE], name="neighbour") as neighbour, patient.open([LONG], name="greedy") as greedy:
        result = greedy.execute(sql)
        assert result.error is None or result.error.startswith("ERROR ")
        assert neighbour.execute("INSERT INTO people VALUES ('Eve', '1')").affected == 1
        assert len(neighbour.content("people")) == 3
        assert greedy.execute("SELECT 1").rows == ((1,),)
    assert patient.usable


@pytest.mark.docker
def test_a_statement_that_nothing_can_end_costs_the_server_and_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd.sandbox.database.session.STUCK_SECONDS", 2.0)
    # MariaDB looks for no kill in any of these, each of which is a search of seconds.
    search = "LOCATE(CONCAT(REPEAT('a', 120000), 'b'), REPEAT('a', 240000))"
    limits = Limits(command_seconds=1.0)
    with Sandboxes(run_id="tests-stuck", limits=limits) as pool, pool.database() as server:
        database = server.open([PEOPLE])
        with pytest.raises(SandboxUnavailable, match="retry"):
            database.execute("SELECT " + " + ".join([search] * 40))
        assert not server.usable
        assert database.unavailable
        database.close()


@pytest.mark.docker
def test_no_fault_of_the_administrators_statements_is_a_bare_one(server: DatabaseServer) -> None:
    for sql in ("SELEC 1", "SELECT * FROM nowhere.t", "KILL 4000000000", "DROP USER nobody@localhost"):
        with pytest.raises(SandboxUnavailable), server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
    with server.open([PEOPLE]) as database:
        assert database.execute("SELECT 1").rows == ((1,),)


@pytest.mark.docker
def test_a_user_who_locked_itself_out_is_let_in_again(server: DatabaseServer) -> None:
    with server.open([PEOPLE]) as database:
        database.execute("SET PASSWORD = PASSWORD('mine')")
        assert len(database.content("people")) == 2
        database.renew()
        assert database.execute("SELECT 1").rows == ((1,),)


@pytest.mark.docker
def test_after_a_death_the_next_database_is_on_another_server(
    sandboxes: Sandboxes, client: docker.DockerClient
) -> None:
    with DatabaseServers(sandboxes.database) as servers:
        first, beside = servers.open([PEOPLE], name="first"), servers.open([PEOPLE], name="beside")
        assert first.server is beside.server
        client.containers.get(first.server._channel._name).kill()
        for database in (first, beside):
            with pytest.raises(SandboxUnavailable, match="retry"):
                database.execute("SELECT 1")
            database.close()
        later = servers.open([PEOPLE], name="later")
        again = servers.open([PEOPLE], name="first")
        assert len({first.server, later.server, again.server}) == 3
        assert again.execute("SELECT COUNT(*) FROM people").rows == ((2,),)
        again.close()
        assert not again.server.usable
        assert later.execute("SELECT COUNT(*) FROM people").rows == ((2,),)
        later.close()


class FakeDatabase:
    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.unavailable = False
        self.after: Any = None

    def then(self, after: Any) -> FakeDatabase:
        self.after = after
        return self


class FakeServer:
    def __init__(self) -> None:
        self.usable = True
        self.fault: Exception | None = None

    def open(self, tables: Sequence[Table], *, name: str, collation: str | None) -> FakeDatabase:
        if self.fault:
            raise self.fault
        return FakeDatabase(self)

    def close(self) -> None:
        self.usable = False


def opened(servers: DatabaseServers, name: str) -> FakeDatabase:
    return cast(FakeDatabase, servers.open([], name=name))


def test_a_name_has_a_server_of_its_own_only_after_its_database_was_unavailable() -> None:
    with DatabaseServers(cast(Any, FakeServer)) as servers:
        first = opened(servers, "a")
        assert opened(servers, "a").server is first.server
        last = opened(servers, "a")
        last.unavailable = True
        replay = opened(servers, "a")
        assert replay.server is not first.server
        assert replay.after == replay.server.close
        assert opened(servers, "b").server is first.server
    assert not first.server.usable


def test_a_database_that_could_not_be_opened_is_opened_alone_unless_its_data_are_at_fault() -> None:
    with DatabaseServers(cast(Any, FakeServer)) as servers:
        shared = opened(servers, "first").server
        shared.fault = ValueError("a row does not fit")
        with pytest.raises(ValueError, match="a row"):
            opened(servers, "bad")
        shared.fault = SandboxUnavailable("full")
        with pytest.raises(SandboxUnavailable):
            opened(servers, "good")
        shared.fault = None
        assert opened(servers, "bad").server is shared
        assert opened(servers, "good").server is not shared


def test_a_guard_bites_once_for_the_first_excess_and_never_after_the_end() -> None:
    bitten = threading.Event()
    with Guard(1e9, lambda: "memory", bitten.set) as guard:
        assert bitten.wait(30)
    assert guard.excess == "memory"
    with Guard(0.001, lambda: None, bitten.set) as late:
        bitten.clear()
        assert bitten.wait(30)
    assert late.excess == "time"
    bitten.clear()
    with Guard(1e9, lambda: "disk", bitten.set) as quick:
        pass
    assert quick.excess is None
    assert not bitten.is_set()


@pytest.mark.parametrize("number", [1053, 1927, 2003, 2006, 2013, 4031])
def test_what_ended_a_connection_is_never_the_datas_fault(number: int) -> None:
    error = pymysql.err.OperationalError(number, "gone")
    assert is_connection_error(error)
    assert not is_of_the_data(error)


@pytest.mark.parametrize(("number", "data"), [(1117, True), (1118, True), (1406, True), (1021, False), (1114, False),
                                              (1034, False), (1040, False), (1037, False)])  # fmt: skip
def test_a_table_that_does_not_load_is_told_from_a_server_that_cannot_load_it(number: int, data: bool) -> None:
    assert is_of_the_data(pymysql.err.InternalError(number, "no")) is data
