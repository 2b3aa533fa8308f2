from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from cycleqd.sandbox import Database, DatabaseServer, Limits, Sandboxes, SandboxUnavailable, StatementResult, Table
from cycleqd.sandbox.database import SharedFolder

pytestmark = pytest.mark.docker

BEFORE_IT_ENDS_ITSELF = 60.0
"""Seconds; what is waited for would take longer, and a busy machine does not."""

PEOPLE = Table("people", ("name", "age"), (("Ann", "31"), ("Bob", None), ("Zoë 😀", "7")))


@pytest.fixture
def database(server: DatabaseServer) -> Iterator[Database]:
    with server.open([PEOPLE]) as fresh:
        yield fresh


def test_queries_give_rows_and_changes_give_counts(database: Database) -> None:
    assert database.execute("SELECT name FROM people WHERE age > 10").rows == (("Ann",),)
    assert database.execute("SELECT COUNT(*), MAX(age + 0) FROM people").rows == ((3, 31.0),)
    changed = database.execute("UPDATE people SET age = '8' WHERE age = '7'")
    assert (changed.rows, changed.affected, changed.error, changed.truncated) == ((), 1, None, False)
    assert database.execute("INSERT INTO people VALUES ('Cid', '1'), ('Dan', '2')").affected == 2
    assert database.execute("DELETE FROM people").affected == 5
    assert database.content("people") == ()


def test_content_is_sorted_and_tells_nothing_from_empty(server: DatabaseServer) -> None:
    table = Table("t", ("a", "b"), (("b", None), ("", "x"), (None, "y"), ("a", "")))
    with server.open([table]) as database:
        assert database.content("t") == ((None, "y"), ("", "x"), ("a", ""), ("b", None))


def test_odd_names_are_only_names(server: DatabaseServer) -> None:
    odd = ("select", "a b", "it's", 'dou"ble', "back`tick", "ünï漢", "%s", "1;DROP", "#", "--")
    table = Table("Olympic `Games` (%s)", odd, (tuple(str(number) for number in range(len(odd))),))
    with server.open([table, PEOPLE]) as database:
        assert database.content(table.name) == table.rows
        assert database.execute("SELECT `back``tick`, `1;DROP` FROM `Olympic ``Games`` (%s)`").rows == (("4", "7"),)


def test_text_of_any_alphabet_and_sign_survives(server: DatabaseServer) -> None:
    row = ("ß漢字😀\N{COMBINING ACUTE ACCENT}", "a'b\"c\\d`e%s;--\n\t\0\x1a", "x" * 60_000)
    with server.open([Table("t", ("a", "b", "c"), (row,))]) as database:
        assert database.content("t") == (row,)
        assert database.execute("SELECT * FROM t").rows == (row,)
        assert database.execute("SELECT a FROM t WHERE a LIKE '%😀%'").rows == ((row[0],),)


def test_tables_that_do_not_fit_are_the_callers_fault(server: DatabaseServer) -> None:
    for table in (
        Table("t", ()),
        Table("t", ("a", "A")),
        Table("", ("a",)),
        Table("t ", ("a",)),
        Table("t", ("x" * 65,)),
        Table("t", ("a", "b"), (("1",),)),
        Table("t", ("a",), (("x" * 70_000,),)),
    ):
        with pytest.raises(ValueError, match=r"table|identifier|loaded"):
            server.open([table])
    with server.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE 'e\\_%'")
        assert cursor.fetchall() == ()


def test_errors_are_the_servers_words(database: Database) -> None:
    assert database.execute("SELEC 1").error == (
        "ERROR 1064: You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server "
        "version for the right syntax to use near 'SELEC 1' at line 1"
    )
    assert (database.execute("SELECT nope FROM people").error or "").startswith("ERROR 1054: Unknown column 'nope' in")
    assert "doesn't exist" in (database.execute("SELECT * FROM nope").error or "")
    assert database.execute("").error == "ERROR 1065: Query was empty"
    assert "ERROR 1365" in (database.execute("UPDATE people SET age = 1 / 0").error or "")


def test_names_repeat_in_every_message_and_result(server: DatabaseServer, sandboxes: Sandboxes) -> None:
    def seen(server: DatabaseServer) -> list[StatementResult]:
        with server.open([PEOPLE], name="db/insert-row/0001") as database:
            database.execute("SET PASSWORD = PASSWORD('mine')")
            return [
                database.execute(sql)
                for sql in (
                    "SELECT * FROM nope",
                    "SELECT * FROM nowhere.people",
                    "DROP TABLE people",
                    "CREATE USER x",
                    "GRANT ALL ON *.* TO CURRENT_USER()",
                    "SELECT DATABASE(), USER(), CURRENT_USER(), MD5(DATABASE())",
                    "SHOW DATABASES",
                    "SHOW GRANTS",
                    "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_NAME = 'people'",
                    "KILL CONNECTION_ID()",
                    "SHOW GRANTS",
                )
            ]

    first = seen(server)
    assert seen(server) == first
    with sandboxes.database() as another:
        assert seen(another) == first
    with server.open([PEOPLE], name="db/insert-row/0002") as database:
        assert database.execute("SHOW DATABASES") != first[6]


def test_the_name_that_a_model_sees_is_one_that_it_can_use(database: Database) -> None:
    ((name,),) = database.execute("SELECT DATABASE()").rows
    assert f"'{name}.nope' doesn't exist" in (database.execute("SELECT * FROM nope").error or "")
    assert database.execute(f"SELECT COUNT(*) FROM {name}.people").rows == ((3,),)
    assert database.execute(f"USE {name}").error is None


def test_two_databases_of_one_name_do_not_meet(server: DatabaseServer) -> None:
    with server.open([PEOPLE], name="twin") as first, server.open([PEOPLE], name="twin") as second:
        assert first.execute("DELETE FROM people").affected == 3
        assert len(second.content("people")) == 3
        assert first.execute("SELECT DATABASE()") != second.execute("SELECT DATABASE()")


def test_only_one_statement_at_a_time(database: Database) -> None:
    assert "ERROR 1064" in (database.execute("SELECT 1; DELETE FROM people").error or "")
    assert len(database.content("people")) == 3
    assert database.execute("SELECT 1;").rows == ((1,),)


def test_transactions_and_variables_persist_between_statements(database: Database) -> None:
    database.execute("SET @x = 5")
    database.execute("START TRANSACTION")
    database.execute("DELETE FROM people")
    assert len(database.content("people")) == 3
    database.execute("ROLLBACK")
    assert database.execute("SELECT @x, COUNT(*) FROM people").rows == ((5, 3),)


def test_an_open_transaction_does_not_hinder_the_drop(server: DatabaseServer) -> None:
    database = server.open([PEOPLE])
    database.execute("START TRANSACTION")
    database.execute("DELETE FROM people")
    started = time.monotonic()
    database.close()
    database.close()
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    with pytest.raises(SandboxUnavailable, match="closed"):
        database.execute("SELECT 1")


def test_the_session_speaks_utf8mb4_under_the_stated_mode(database: Database) -> None:
    query = "SELECT @@sql_mode, @@character_set_connection, @@group_concat_max_len, @@local_infile, @@skip_networking"
    mode = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
    assert database.execute(query).rows == ((mode, "utf8mb4", 262_144, 0, 1),)


def test_what_goes_beyond_the_rows_of_its_own_tables_is_refused(server: DatabaseServer, database: Database) -> None:
    with server.open([Table("secrets", ("s",), (("hidden",),))]) as other:
        for sql in (
            f"SELECT * FROM {other._name}.secrets",
            f"UPDATE {other._name}.secrets SET s = 1",
            f"USE {other._name}",
            f"DROP DATABASE {other._name}",
            f"DROP DATABASE {database._name}",
            "DROP TABLE people",
            "CREATE TABLE x (i INT)",
            "CREATE DATABASE x",
            "ALTER TABLE people ADD x INT",
            "CREATE USER x",
            "SELECT * FROM mysql.global_priv",
            "LOAD DATA INFILE '/etc/passwd' INTO TABLE people",
            "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE people",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "SELECT 1 INTO DUMPFILE '/var/lib/mysql/x'",
            "SET GLOBAL max_statement_time = 0",
            "SET GLOBAL general_log = 1",
            "CREATE FUNCTION f RETURNS STRING SONAME 'x.so'",
            "INSTALL SONAME 'ha_connect'",
            "CREATE PROCEDURE p() SELECT 1",
            "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO SELECT 1",
            "GRANT ALL ON *.* TO CURRENT_USER()",
            "SHUTDOWN",
            "FLUSH TABLES WITH READ LOCK",
            "LOCK TABLES people WRITE",
            "KILL 1",
        ):
            assert database.execute(sql).error, sql
        assert database.execute("SELECT LOAD_FILE('/etc/passwd')").rows == ((None,),)
        assert database.execute("SHOW DATABASES").rows == ((database._name,), ("information_schema",))
        assert len(database.execute("SHOW PROCESSLIST").rows) == 1
        assert other.content("secrets") == (("hidden",),)


def test_a_slow_statement_is_interrupted_and_the_session_goes_on(database: Database) -> None:
    database.execute("SET @x = 5")
    started = time.monotonic()
    error = database.execute("SELECT SLEEP(100)").error
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    assert error == "ERROR 1969: Query execution was interrupted (max_statement_time exceeded)"
    assert database.execute("SELECT @x").rows == ((5,),)


@pytest.mark.parametrize("sql", ["SELECT SLEEP(100)", "SELECT BENCHMARK(1e12, MD5('x'))", "DO SLEEP(100)"])
def test_a_statement_that_lifted_the_time_limit_is_killed(database: Database, sql: str) -> None:
    database.execute("SET @x = 5, max_statement_time = 0")
    started = time.monotonic()
    result = database.execute(sql)
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    assert result.error == "ERROR 1317: Query execution was interrupted (limit 1 s)"
    assert database.execute("SELECT @x, @@max_statement_time").rows == ((None, 1.0),)
    assert len(database.content("people")) == 3


def test_a_flood_of_rows_is_cut_at_the_limit(database: Database) -> None:
    everything = "information_schema.COLUMNS a, information_schema.COLUMNS b, information_schema.COLUMNS c"
    started = time.monotonic()
    result = database.execute(f"SELECT a.COLUMN_NAME FROM {everything}")
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    assert (len(result.rows), result.truncated, result.error) == (50, True, None)
    assert database.execute("SELECT 1").rows == ((1,),)


def test_a_flood_of_bytes_is_cut_at_the_limit(database: Database) -> None:
    result = database.execute("SELECT REPEAT('x', 200000), REPEAT('y', 40000) FROM people a, people b")
    assert (len(result.rows), result.truncated) == (4, True)
    assert database.execute("SELECT REPEAT('x', 100000000)").rows == ((None,),)
    assert "longer than" in (database.execute("SELECT '" + "x" * 20_000 + "'").error or "")
    assert database.execute("SELECT 1").rows == ((1,),)


def test_memory_hogs_are_errors_and_the_server_lives(database: Database) -> None:
    for name in ("sort_buffer_size", "join_buffer_size", "max_heap_table_size", "tmp_memory_table_size",
                 "read_buffer_size", "max_session_mem_used"):  # fmt: skip
        database.execute(f"SET SESSION {name} = 1000000000000")
        ((value,),) = database.execute(f"SELECT @@{name}").rows
        assert value <= 64 * 1024 * 1024, name
    assignments = ", ".join(f"@v{number} = REPEAT('x', 250000)" for number in range(500))
    for _ in range(4):
        database.execute(f"SET {assignments}")
        assert database.execute("SELECT LENGTH(@v1)").rows == ((None,),)
    big = "SELECT COUNT(*) FROM (SELECT DISTINCT a.COLUMN_NAME x, REPEAT(UUID(), 500) y FROM {0} a, {0} b) t"
    assert database.execute(big.format("information_schema.COLUMNS")).error
    assert database.execute("SELECT 1").rows == ((1,),)


def test_recursion_without_end_is_an_error(database: Database) -> None:
    result = database.execute("WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r) SELECT MAX(n) FROM r")
    assert result.error or result.rows
    assert database.execute("SELECT 1").rows == ((1,),)


def test_a_full_disk_is_the_fillers_error_and_others_go_on(server: DatabaseServer) -> None:
    with server.open([Table("big", ("a",), (("x" * 60_000,),))]) as filler, server.open([PEOPLE]) as other:
        errors = []
        for _ in range(16):
            errors.append(filler.execute("INSERT INTO big SELECT * FROM big").error)
        assert any(errors), errors
        assert other.execute("SELECT COUNT(*) FROM people").rows == ((3,),)
    with server.open([PEOPLE]) as fresh:
        assert fresh.execute("INSERT INTO people VALUES ('Eve', '1')").affected == 1


def test_statements_that_hurt_their_own_session_are_results(database: Database) -> None:
    assert "ERROR 1927" in (database.execute("KILL CONNECTION_ID()").error or "")
    assert database.execute("SELECT 1").rows == ((1,),)
    database.execute("SET PASSWORD = PASSWORD('mine')")
    database.execute("SET max_statement_time = 0")
    assert "1317" in (database.execute("SELECT SLEEP(100)").error or "")
    assert database.execute("SELECT 1").rows == ((1,),)
    assert database.execute("SELECT '\ud800'").rows == (("?",),)


def test_no_statement_disturbs_the_connection_it_runs_on(database: Database) -> None:
    # Character sets that the client does not read would garble what follows.
    for sql in (
        "SET NAMES latin1",
        "SET character_set_results = NULL",
        "SET SESSION sql_mode = ANSI_QUOTES",
        "SELECT x'ff'",
    ):
        assert database.execute(sql).error is None, sql
    assert database.execute("SELECT COUNT(*) FROM people").rows == ((3,),)
    assert database.content("people") == (("Ann", "31"), ("Bob", None), ("Zoë 😀", "7"))
    result = database.execute("SELECT name FROM people WHERE age = '7'")
    assert result.rows or result.error


@pytest.mark.parametrize(
    "statements",
    [
        ("SET NAMES latin1", "SELECT name FROM people"),
        ("SET character_set_results = latin1", "SELECT 'ë' AS `ë`"),
        ("SET character_set_results = utf16", "SELECT COUNT(*) FROM people"),
        ("SET character_set_results = ucs2", "SELECT 1.5"),
        ("SELECT _utf8mb4 x'eda080' FROM people",),
        ("UPDATE people SET name = CHAR(0xd800 USING ucs2) WHERE age = '31'", "SELECT name FROM people"),
    ],
)
def test_a_result_that_cannot_be_read_is_an_error_and_the_session_goes_on(
    database: Database, statements: tuple[str, ...]
) -> None:
    results = [database.execute(sql) for sql in statements]
    assert (
        results[-1].error == "ERROR 1300: Invalid utf8mb4 character string in the result (a new connection was made)"
    )
    assert database.execute("SELECT 'ë', 1").rows == (("ë", 1),)


def test_half_a_surrogate_pair_in_a_table_is_no_text(database: Database) -> None:
    assert database.execute("UPDATE people SET name = _utf8mb4 x'41eda080' WHERE age = '31'").affected == 1
    names = [name for name, _ in database.content("people")]
    assert names == ["A" + 3 * "\N{REPLACEMENT CHARACTER}", "Bob", "Zoë 😀"]


def test_episodes_run_in_parallel(server: DatabaseServer) -> None:
    def episode(number: int) -> int:
        with server.open([Table("t", ("n",), tuple((str(row),) for row in range(number)))]) as database:
            database.execute("UPDATE t SET n = n + 1")
            return len(database.content("t"))

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(episode, range(24))) == list(range(24))


def test_content_of_a_table_never_opened_is_the_callers_fault(database: Database) -> None:
    with pytest.raises(ValueError, match="no table 'nope'"):
        database.content("nope")


def test_a_server_killed_from_outside_is_unavailable_and_no_result(
    sandboxes: Sandboxes, client: docker.DockerClient
) -> None:
    with sandboxes.database() as server:
        database = server.open([PEOPLE])
        client.containers.get(server._channel._name).kill()
        with pytest.raises(SandboxUnavailable, match="retry"):
            database.execute("SELECT 1")
        with pytest.raises(SandboxUnavailable, match="retry"):
            database.content("people")
        with pytest.raises(SandboxUnavailable, match="retry"):
            server.open([PEOPLE])
        database.close()
        assert isinstance(server._way, SharedFolder)
        directory = server._way.folder
        assert directory.exists()
    assert not directory.exists()


def test_the_socket_is_removed_though_the_engine_is_gone(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sandboxes.database()
    remove = server._remove

    def fail() -> None:
        raise SandboxUnavailable("no Docker engine answers")

    monkeypatch.setattr(server, "_remove", fail)
    with pytest.raises(SandboxUnavailable):
        server.close()
    assert isinstance(server._way, SharedFolder)
    assert not server._way.folder.exists()
    remove()


def test_the_socket_is_private(server: DatabaseServer) -> None:
    assert isinstance(server._way, SharedFolder)
    assert server._way.folder.stat().st_mode & 0o777 == 0o700


def test_the_limits_are_used() -> None:
    with pytest.raises(ValueError, match="sql_rows must be at least 1, got 0; command_seconds must be positive"):
        Limits(sql_rows=0, command_seconds=0)
