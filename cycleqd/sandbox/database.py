"""A MariaDB server in a container; a fresh database and user for every episode."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pymysql
import pymysql.cursors
from pymysql.err import InterfaceError, MySQLError

from cycleqd.sandbox.channel import Channel
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

SOCKET_NAME = "server.sock"
SOCKET_MOUNT = "/run/sandbox"
START_SECONDS = 60.0
ADMIN_SECONDS = 30
GRACE_SECONDS = 1.0
"""How much longer than the server's own limit a statement may take before it is killed from here."""
READ_SECONDS = 10.0
"""How much longer than the server's own limit a connection may be silent before the server counts as dead."""
STATEMENT_CHARACTERS = 16_384
"""Of a model's statement: each call in it may hold a value of max_allowed_packet, so a longer one ends the server."""
SESSION_BYTES = 64 * 1024 * 1024
"""What a session's variables may hold. The server bounds a value (max_allowed_packet) and a statement's length is
bounded here, but not how many variables there are; the sum is looked at after each statement."""
LOAD_BYTES = 196_608
"""Length of the statements that load rows, below the server's max_allowed_packet."""
MEMORY_MB = 512
DATA_MB, TEMPORARY_MB = 256, 64
PIDS = 256
COLLATION = "utf8mb4_general_ci"
"""The server's own (server.cnf)."""
NAME_DIGITS = 12
PRIVILEGES = "SELECT, INSERT, UPDATE, DELETE"
IDENTIFIER_CHARACTERS = 64
CONNECTION_ERRORS = frozenset({1053, 1927, 2006, 2013, 2014, 2055})
"""ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED, and the client's CR_SERVER_GONE_ERROR, CR_SERVER_LOST,
CR_COMMANDS_OUT_OF_SYNC, CR_SERVER_LOST_EXTENDED."""
NOT_UTF8 = "ERROR 1300: Invalid utf8mb4 character string in the result (a new connection was made)"
"""The result is in another character set (SET NAMES), or holds half a surrogate pair, which the server stores."""
DISK_FULL = frozenset({1021, 1114, 3})
"""Server errors of a full disk: ER_DISK_FULL, ER_RECORD_FILE_FULL, EE_WRITE."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to create; every column is TEXT, NULL allowed.

    Attributes:
        name: At most 64 characters, not ending in a space.
        columns: Names, at least one, distinct (case-insensitively), like `name`.
        rows: Values in the columns' order; None is NULL.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...] = ()


class StatementResult(NamedTuple):
    """What a statement did.

    Attributes:
        rows: The result's rows up to the limits, as Python values (str, int, Decimal, datetime, None, ...).
        affected: Rows changed; 0 for a statement with a result.
        error: The server's message, ``ERROR <number>: <text>``; None on success.
        truncated: The result had more than the limits.
    """

    rows: tuple[tuple[Any, ...], ...]
    affected: int
    error: str | None
    truncated: bool


def quoted(identifier: str) -> str:
    """An identifier in backticks.

    Raises:
        ValueError: No table or column can have that name.
    """
    if not 0 < len(identifier) <= IDENTIFIER_CHARACTERS or identifier.endswith(" ") or "\0" in identifier:
        raise ValueError(
            f"identifier {identifier!r} must have 1 to {IDENTIFIER_CHARACTERS} characters, no NUL, no space at the end"
        )
    return "`" + identifier.replace("`", "``") + "`"


def described(error: MySQLError | OSError) -> str:
    """The server's message, verbatim, with its number."""
    if len(error.args) >= 2:
        return f"ERROR {error.args[0]}: {error.args[1]}"
    return f"ERROR: {error}"


def error_number(error: MySQLError) -> int:
    """The server's or client's error number; 0 when there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def is_connection_error(error: MySQLError | OSError) -> bool:
    """Whether the connection failed, not the statement."""
    return not isinstance(error, MySQLError) or isinstance(error, InterfaceError) or \
        error_number(error) in CONNECTION_ERRORS  # fmt: skip


def check(table: Table) -> None:
    """Raises ValueError unless columns and rows fit together; what else is wrong the server says."""
    if not table.columns or len({column.casefold() for column in table.columns}) != len(table.columns):
        raise ValueError(f"table {table.name!r} needs at least one column, all distinct, got {table.columns}")
    for row in table.rows:
        if len(row) != len(table.columns) or not all(value is None or isinstance(value, str) for value in row):
            raise ValueError(f"table {table.name!r}: {row!r} must be {len(table.columns)} texts or None")


class DatabaseServer:
    """A MariaDB server that listens on a socket in a private directory of the host; a context manager.

    Thread-safe: episodes open, use and close their databases in parallel.

    Args:
        channel: The container's streams.
        directory: Where its socket appears; removed by `close`.
        password: The administrator's.
        limits: Of statements.
        remove: Removes the container.
    """

    ADMIN = "sandbox_admin"

    def __init__(
        self, channel: Channel, directory: Path, password: str, limits: Limits, remove: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._directory = directory
        self._password = password
        self._limits = limits
        self._remove = remove
        self._idle: queue.LifoQueue[pymysql.Connection[Any]] = queue.LifoQueue()
        self._closed = False
        self._names: set[str] = set()
        self._naming = threading.Lock()
        # One line a statement, then an empty line (serve.sh).
        channel.send(
            f"CREATE USER '{self.ADMIN}'@'localhost' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{self.ADMIN}'@'localhost' WITH GRANT OPTION;\n\n".encode()
        )

    def wait(self) -> None:
        """Blocks until the server answers.

        Raises:
            SandboxUnavailable: It ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._idle.put(self._connect(self.ADMIN, self._password, ADMIN_SECONDS))
            except (MySQLError, OSError) as error:
                if self._channel.ended or time.monotonic() > deadline:
                    raise self._fault(f"it does not start ({error})") from error
                time.sleep(0.01)
            else:
                return

    def open(self, tables: Sequence[Table], *, name: str = "", collation: str = COLLATION) -> Database:
        """Creates a database with the given tables, and a user who may read and change their rows.

        Args:
            tables: Tables.
            name: What the database and its user are named after, e.g. a sample's id. The server's messages and results
                show those names to whoever plays the episode, so they follow from this alone: an episode that is
                played again sees the same. Databases that are open at once differ even if this does not.
            collation: How its texts compare.

        Raises:
            ValueError: A name or a row does not fit.
            SandboxUnavailable: The server is gone.
        """
        name = self._free_name(name)
        # What an earlier drop may have left is replaced.
        statements = [f"CREATE OR REPLACE DATABASE {name} COLLATE {collation}", f"USE {name}"]
        for table in tables:
            check(table)
            columns = ", ".join(f"{quoted(column)} TEXT" for column in table.columns)
            statements.append(f"CREATE TABLE {quoted(table.name)} ({columns})")
        # Without a password: the socket is private, and SHOW GRANTS would show the password's hash.
        statements.append(f"CREATE OR REPLACE USER {name}@localhost")
        statements.append(f"GRANT {PRIVILEGES} ON {name}.* TO {name}@localhost")
        try:
            with self.admin() as connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                for table in tables:
                    if table.rows:
                        # PyMySQL formats the statement with %, names included.
                        cursor.max_stmt_length = LOAD_BYTES
                        into = quoted(table.name).replace("%", "%%")
                        marks = ", ".join(["%s"] * len(table.columns))
                        cursor.executemany(f"INSERT INTO {into} VALUES ({marks})", table.rows)  # noqa: S608 -- quoted
            return Database(self, name, {table.name: table.columns for table in tables}, self._limits)
        except (MySQLError, TypeError) as error:
            with contextlib.suppress(SandboxUnavailable):
                self.drop(name)
            if isinstance(error, MySQLError) and error_number(error) in DISK_FULL:
                raise self._fault(described(error)) from error
            raise ValueError(f"the tables can't be loaded: {error}") from error
        except BaseException:
            with contextlib.suppress(SandboxUnavailable):
                self.drop(name)
            raise

    def drop(self, name: str) -> None:
        """Removes an episode's database and user.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        try:
            with self.admin() as connection, connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {name}")
                cursor.execute(f"DROP USER IF EXISTS {name}@localhost")
        finally:
            with self._naming:
                self._names.discard(name)

    def _free_name(self, purpose: str) -> str:
        """A name that follows from the purpose, of which no other open database has it."""
        stem = f"e_{hashlib.sha256(purpose.encode()).hexdigest()[:NAME_DIGITS]}"
        with self._naming:
            name = next(
                name
                for name in itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
                if name not in self._names
            )
            self._names.add(name)
        return name

    def connect(self, user: str) -> Any:
        """A connection of an episode's user, with its database selected.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        try:
            return self._connect(user, "", self._limits.command_seconds + READ_SECONDS, database=user)
        except (MySQLError, OSError) as error:
            raise self._fault(str(error)) from error

    @contextlib.contextmanager
    def admin(self) -> Iterator[pymysql.Connection[Any]]:
        """A connection of the administrator, for one thread; taken back afterwards.

        Statement errors (`MySQLError`) pass through.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        if self._closed:
            raise SandboxUnavailable("this database server is closed")
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            try:
                connection = self._connect(self.ADMIN, self._password, ADMIN_SECONDS)
            except (MySQLError, OSError) as error:
                raise self._fault(str(error)) from error
        try:
            yield connection
        except (MySQLError, OSError) as error:
            if is_connection_error(error) or not connection.open:
                discard(connection)
                raise self._fault(str(error)) from error
            self._idle.put(connection)
            raise
        except BaseException:
            discard(connection)
            raise
        self._idle.put(connection)

    def close(self) -> None:
        """Removes the container and its socket; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            while True:
                discard(self._idle.get_nowait())
        except queue.Empty:
            pass
        try:
            self._remove()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _connect(self, user: str, password: str, seconds: float, database: str | None = None) -> Any:
        # Any: the stubs' connection is generic in its cursor, which differs.
        return pymysql.connect(
            unix_socket=str(self._directory / SOCKET_NAME),
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            # Or texts of a session's own and columns, which may have another collation, would not compare.
            init_command="SET collation_connection = @@collation_database" if database else None,
            autocommit=True,
            local_infile=False,
            # The socket is private; making a TLS context would take 40 ms.
            ssl_disabled=True,
            connect_timeout=ADMIN_SECONDS,
            read_timeout=seconds,
            write_timeout=ADMIN_SECONDS,
        )

    def _fault(self, what: str) -> SandboxUnavailable:
        return SandboxUnavailable(
            f"the database server is gone or does not answer ({what}); retry the evaluation with a new server"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def discard(connection: pymysql.Connection[Any]) -> None:
    """Closes a connection without a word to the server."""
    with contextlib.suppress(MySQLError, OSError, AttributeError):
        connection._force_close()  # type: ignore[attr-defined]  # the stubs' gap


class Watchdog:
    """Calls `bite` unless the block that it guards ends within some seconds.

    Args:
        seconds: Wall-clock time, positive.
        bite: Called from another thread, at most once, never after the block's end.
    """

    def __init__(self, seconds: float, bite: Callable[[], None]) -> None:
        self.bit = False
        self._bite = bite
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True

    def _fire(self) -> None:
        self.bit = True
        self._bite()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()


class Database:
    """One episode's database; a context manager; for one thread at a time.

    The episode has one connection, so its transactions and variables persist from statement to statement.
    """

    def __init__(
        self,
        server: DatabaseServer,
        name: str,
        columns: dict[str, tuple[str, ...]],
        limits: Limits,
    ) -> None:
        self._server = server
        self._name = name
        self._columns = columns
        self._limits = limits
        self._closed = False
        self._connection = server.connect(name)

    def execute(self, sql: str, *, characters: int = STATEMENT_CHARACTERS) -> StatementResult:
        """Executes one statement as the episode's user.

        Args:
            sql: One statement; a second one after a semicolon is the server's syntax error.
            characters: How long it may be; more than the default is for statements that no model wrote.

        Returns:
            The result; SQL errors and exceeded limits are results. After a statement that had to be killed from
            here, or whose result can't be read, the connection is a new one: its transaction is rolled back and its
            variables are lost.

        Raises:
            SandboxUnavailable: The server is gone, or full through other episodes.
        """
        if self._closed:
            raise SandboxUnavailable("this database is closed")
        text = sql.encode("utf-8", "replace").decode("utf-8")
        if len(text) > characters:
            error = f"ERROR 1153: statement longer than {characters} characters"
            return StatementResult((), 0, error, False)
        # The server's own limit can be SET away by the session.
        watchdog = Watchdog(self._limits.command_seconds + GRACE_SECONDS, self._killer())
        try:
            with watchdog, self._connection.cursor(pymysql.cursors.SSCursor) as cursor:
                result = self._execute(cursor, text)
        except (MySQLError, OSError) as error:
            return self._failed(error, timed_out=watchdog.bit)
        except (ValueError, ArithmeticError):  # the client reads texts as UTF-8, and numbers out of them
            self._reconnect()
            return StatementResult((), 0, NOT_UTF8, False)
        if watchdog.bit or ("@" in text and self._session_bytes() > SESSION_BYTES):
            self._reconnect()
        return result

    def content(self, table: str) -> tuple[tuple[str | None, ...], ...]:
        """All committed rows of a table, sorted (NULL first): the state to judge.

        What the server takes for text and is none (half a surrogate pair) is replaced.

        Raises:
            ValueError: The table is none of those that the database was opened with.
            SandboxUnavailable: The server is gone.
        """
        if table not in self._columns:
            raise ValueError(f"no table {table!r}; there are {sorted(self._columns)}")
        columns = ", ".join(f"CAST({quoted(column)} AS BINARY)" for column in self._columns[table])
        with self._server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {self._name}.{quoted(table)}")  # noqa: S608 -- quoted
            found = cursor.fetchall()
        rows = [tuple(None if value is None else value.decode("utf-8", "replace") for value in row) for row in found]
        return tuple(sorted(rows, key=lambda row: [(value is not None, value or "") for value in row]))

    def close(self) -> None:
        """Drops the database and the user; idempotent; a dead server is no error here."""
        if self._closed:
            return
        self._closed = True
        discard(self._connection)
        with contextlib.suppress(SandboxUnavailable, MySQLError):
            self._server.drop(self._name)

    def _execute(self, cursor: Any, sql: str) -> StatementResult:
        cursor.execute(sql)
        if cursor.description is None:
            return StatementResult((), max(0, cursor.rowcount), None, False)
        rows: list[tuple[Any, ...]] = []
        size = 0
        while (row := cursor.fetchone()) is not None:
            size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
            if len(rows) >= self._limits.sql_rows or size > self._limits.sql_bytes:
                # The rest is not wanted: stop it at its source, then let the cursor drain what is on its way.
                self._killer("QUERY")()
                with contextlib.suppress(MySQLError):
                    while cursor.fetchone() is not None:
                        pass
                return StatementResult(tuple(rows), 0, None, True)
            rows.append(row)
        return StatementResult(tuple(rows), 0, None, False)

    def _failed(self, error: MySQLError | OSError, *, timed_out: bool) -> StatementResult:
        if timed_out or is_connection_error(error):
            # The watchdog cut the connection, or the statement did (KILL), or the server is dead: then this raises.
            self._reconnect()
            text = (
                f"ERROR 1317: Query execution was interrupted (limit {self._limits.command_seconds:g} s)"
                if timed_out
                else f"{described(error)} (a new connection was made)"
            )
            return StatementResult((), 0, text, False)
        if isinstance(error, MySQLError) and error_number(error) in DISK_FULL and not self._fills_disk():
            raise SandboxUnavailable("the database server's disk is full through other episodes; retry") from error
        return StatementResult((), 0, described(error), False)

    def _session_bytes(self) -> int:
        """Memory that the episode's connection holds in the server."""
        query = "SELECT MEMORY_USED FROM information_schema.PROCESSLIST WHERE ID = %s"
        with self._server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(query, [self._connection.server_thread_id[0]])
            (size,) = cursor.fetchone() or (0,)
        return int(size)

    def _fills_disk(self) -> bool:
        """Whether this episode's files are a large part of the server's data."""
        query = "SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME LIKE %s"
        with self._server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(query, [self._name.replace("_", r"\_") + "/%"])
            (size,) = cursor.fetchone() or (0,)
        return int(size or 0) > DATA_MB * 1024 * 1024 // 4

    def _killer(self, what: str = "CONNECTION") -> Callable[[], None]:
        """What kills the present connection (or, ``QUERY``, only its statement) from another thread."""
        number = int(self._connection.server_thread_id[0])

        def kill() -> None:
            # A connection that has ended already is no fault; a dead server shows itself to whoever uses it next.
            with (
                contextlib.suppress(SandboxUnavailable, MySQLError),
                self._server.admin() as admin,
                admin.cursor() as cursor,
            ):
                cursor.execute(f"KILL {what} {number}")

        return kill

    def _reconnect(self) -> None:
        self._killer()()
        discard(self._connection)
        # The user may have set a password.
        with self._server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER USER {self._name}@localhost IDENTIFIED BY ''")
        self._connection = self._server.connect(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
