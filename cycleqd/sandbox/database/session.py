"""One episode's database: its statements, and the state that they leave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import pymysql.cursors
from pymysql.err import MySQLError

from cycleqd.sandbox.database.faults import DAMAGE, DISK_FULL, described, error_number, is_connection_error
from cycleqd.sandbox.database.guard import Excess, Guard
from cycleqd.sandbox.database.products import Product
from cycleqd.sandbox.database.values import StatementResult, Table, UnreadableTable, failed, quoted
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

STATEMENT_CHARACTERS = 16_384
"""Of a model's statement: each call in it may hold a value of max_allowed_packet, so a longer one ends the server."""
GRACE_SECONDS = 1.0
"""How much longer than the server's own limit a statement may take before it is killed from here."""
STUCK_SECONDS = 30.0
"""A statement that goes on for so long after it was killed never ends: the server is of no more use to anybody. On a
busy machine even one that only fills variables, where MariaDB does not look for the kill, goes on for some seconds."""
CROWDED = 0.75
"""The part of the disk that all episodes may fill: what is left lets transactions be rolled back."""
CONTENT_ROWS, CONTENT_BYTES = 500_000, 64 * 1024 * 1024
"""Of a table to judge."""
TEMPORARY_TABLE = "#sql"
"""In the name of a statement's own temporary table, which MariaDB calls damaged where there was no room for it."""
NOT_UTF8 = "ERROR 1300: Invalid utf8mb4 character string in the result (a new connection was made)"
"""The result is in another character set (SET NAMES), or holds half a surrogate pair, which MariaDB stores."""
_MEGABYTE = 1024 * 1024


class Usage(NamedTuple):
    """What an episode and all of them take now, in bytes.

    Attributes:
        memory: Of the session, where the server tells.
        files: Of the episode's database.
        every_file: Of everything.
    """

    memory: int
    files: int
    every_file: int


class Server(Protocol):
    """What a database asks of the server that it lies on; `DatabaseServer` says more.

    All methods but `fault` raise `SandboxUnavailable` where the server is gone.
    """

    product: Product
    limits: Limits

    @property
    def usable(self) -> bool:
        """Whether nothing is known that keeps the server from serving."""
        ...

    @property
    def alone(self) -> bool:
        """Whether at most one database is open."""
        ...

    @property
    def busy(self) -> bool:
        """Whether any statement runs that does not end at once."""
        ...

    def working(self) -> AbstractContextManager[None]:
        """While a statement runs that does not end at once."""
        ...

    def open(self, tables: Sequence[Table], *, name: str = "", collation: str | None = None) -> Database:
        """Another database."""
        ...

    def drop(self, name: str) -> None:
        """Removes a database and its user."""
        ...

    def connect(self, user: str) -> Any:
        """A connection of an episode's user."""
        ...

    def admin(self) -> AbstractContextManager[Any]:
        """A connection of the administrator."""
        ...

    def usage(self, name: str, connection_id: int) -> Usage:
        """What an episode and all of them take now."""
        ...

    def fault(self, what: str) -> SandboxUnavailable:
        """The exception that says that the server is of no more use."""
        ...

    def close(self) -> None:
        """Removes the server."""
        ...


class Database:
    """One episode's database; a context manager; for one thread at a time.

    The episode has one connection, so its transactions and variables persist from statement to statement, until
    `renew`.
    """

    def __init__(self, server: Server, name: str, columns: dict[str, tuple[str, ...]]) -> None:
        self.server = server
        self._name = name
        self._columns = columns
        self._closed = False
        self._unavailable = False
        self._after: Callable[[], None] | None = None
        self._connection = server.connect(name)

    @property
    def unavailable(self) -> bool:
        """Whether `SandboxUnavailable` was raised here, or would be."""
        return self._unavailable or not (self._closed or self.server.usable)

    def then(self, after: Callable[[], None]) -> Self:
        """Has `close` call `after`."""
        self._after = after
        return self

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
        with self._noted():
            return self._execute(sql, characters)

    def _execute(self, sql: str, characters: int) -> StatementResult:
        if self._closed:
            raise SandboxUnavailable("this database is closed")
        text = sql.encode("utf-8", "replace").decode("utf-8")
        if len(text) > characters:
            return failed(f"ERROR 1153: statement longer than {characters} characters")
        guard = self._guard(self._connection)
        limits = self.server.limits
        try:
            with guard, self._connection.cursor(pymysql.cursors.SSCursor) as cursor:
                result = self._fetched(cursor, text, limits.sql_rows, limits.sql_bytes)
        except (MySQLError, OSError) as error:
            return self._failed(error, guard.excess)
        except Exception:
            self._renew()
            return failed(NOT_UTF8)
        if guard.excess or ("@" in text and self._variables_exceed()):
            self._renew()
        return result

    def content(self, table: str) -> tuple[tuple[str | None, ...], ...]:
        """All committed rows of a table, sorted (NULL first): the state to judge.

        What the server takes for text and is none (half a surrogate pair) is replaced. Read as the episode's user and
        within its limits: what bears the table's name may by now be anything.

        Raises:
            ValueError: The table is none of those that the database was opened with.
            UnreadableTable: The episode has made it unreadable.
            SandboxUnavailable: The server is gone, or full through other episodes.
        """
        with self._noted():
            return self._content(table)

    def _content(self, table: str) -> tuple[tuple[str | None, ...], ...]:
        if table not in self._columns:
            raise ValueError(f"no table {table!r}; there are {sorted(self._columns)}")
        columns = ", ".join(f"CAST({quoted(column)} AS BINARY)" for column in self._columns[table])
        query = f"SELECT {columns} FROM {quoted(table)}"  # noqa: S608 -- quoted
        connection = self.server.connect(self._name)
        guard = self._guard(connection)
        try:
            with guard, connection.cursor(pymysql.cursors.SSCursor) as cursor:
                result = self._fetched(cursor, query, CONTENT_ROWS, CONTENT_BYTES)
        except (MySQLError, OSError) as error:
            if guard.excess is None and is_connection_error(error):
                raise self.server.fault(described(error)) from error
            self._blame(error, guard.excess)
            raise UnreadableTable(f"the table can't be read: {self._told(error, guard.excess)}") from error
        except Exception as error:
            raise UnreadableTable(f"the table can't be read: {NOT_UTF8}") from error
        finally:
            self._end(connection)
        if result.truncated:
            raise UnreadableTable(f"the table has more than {CONTENT_ROWS} rows or {CONTENT_BYTES // _MEGABYTE} MiB")
        rows = [tuple(None if value is None else value.decode("utf-8", "replace") for value in row)
                for row in result.rows]  # fmt: skip
        return tuple(sorted(rows, key=lambda row: [(value is not None, value or "") for value in row]))

    def renew(self) -> None:
        """Goes on with a new connection: an open transaction is rolled back, variables and locks are lost.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        with self._noted():
            discard(self._connection)
            self._connection = self.server.connect(self._name)

    def _renew(self) -> None:
        """As `renew`, after a statement that may not have ended."""
        self._end(self._connection)
        self._connection = self.server.connect(self._name)

    def close(self) -> None:
        """Drops the database and the user; idempotent; a dead server is no error here."""
        if self._closed:
            return
        self._closed = True
        discard(self._connection)
        try:
            if self.server.usable:
                with contextlib.suppress(SandboxUnavailable):
                    self.server.drop(self._name)
        finally:
            if self._after is not None:
                self._after()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except SandboxUnavailable:
            self._unavailable = True
            raise

    def _fetched(self, cursor: Any, sql: str, most_rows: int, most_bytes: int) -> StatementResult:
        cursor.execute(sql)
        if cursor.description is None:
            return StatementResult((), max(0, cursor.rowcount), None, False)
        rows: list[tuple[Any, ...]] = []
        size = 0
        while (row := cursor.fetchone()) is not None:
            size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
            if len(rows) >= most_rows or size > most_bytes:
                # The rest is not wanted: stop it at its source, then let the cursor drain what is on its way.
                self._killer(cursor.connection, "QUERY")()
                with contextlib.suppress(MySQLError):
                    while cursor.fetchone() is not None:
                        pass
                return StatementResult(tuple(rows), 0, None, True)
            rows.append(row)
        return StatementResult(tuple(rows), 0, None, False)

    def _failed(self, error: MySQLError | OSError, excess: Excess | None) -> StatementResult:
        """The result of a statement that failed, if it is the statement's fault."""
        if excess is not None or is_connection_error(error):
            # The guard cut the connection, or the statement did (KILL), or the server is dead: then this raises.
            self._renew()
        self._blame(error, excess)
        return failed(self._told(error, excess))

    def _told(self, error: MySQLError | OSError, excess: Excess | None) -> str:
        product = self.server.product
        if excess == "time":
            # The server's own limit can be SET away by the session.
            return f"ERROR 1317: Query execution was interrupted (limit {self.server.limits.command_seconds:g} s)"
        if excess == "memory":
            return f"ERROR 1041: Out of memory (limit {product.session_mb} MiB)"
        if excess is not None:
            return f"ERROR 1114: The table is full (limit {product.episode_mb} MiB for all tables)"
        return described(error) + (" (a new connection was made)" if is_connection_error(error) else "")

    def _blame(self, error: MySQLError | OSError, excess: Excess | None) -> None:
        """Raises SandboxUnavailable unless the error is this episode's own doing."""
        number, product = error_number(error), self.server.product
        if excess is None and number in DAMAGE and TEMPORARY_TABLE not in described(error):
            raise self.server.fault(described(error)) from error
        if excess != "crowd" and (excess is not None or number not in DISK_FULL | DAMAGE):
            return
        if self.server.alone:
            return
        usage = self._usage()
        if usage.files > product.episode_mb * _MEGABYTE // 4:
            return
        # What is left are temporary files, which are those of statements that run.
        if usage.every_file < CROWDED * product.data_mb * _MEGABYTE and not self.server.busy:
            return
        raise SandboxUnavailable("the database server's disk is full through other episodes; retry") from error

    def _guard(self, connection: Any) -> Guard:
        seconds = self.server.limits.command_seconds + GRACE_SECONDS
        return Guard(seconds, self._excess, self._killer(connection), self.server.working)

    def _excess(self) -> Excess | None:
        """What this episode has too much of by now."""
        product = self.server.product
        try:
            usage = self._usage()
        except SandboxUnavailable:
            return None  # a dead server shows itself to the statement
        if usage.memory > product.session_mb * _MEGABYTE:
            return "memory"
        if usage.files > product.episode_mb * _MEGABYTE:
            return "disk"
        return "crowd" if usage.every_file > CROWDED * product.data_mb * _MEGABYTE else None

    def _variables_exceed(self) -> bool:
        """Whether the session's variables hold too much: the server bounds each value, not how many there are."""
        return self._usage().memory > self.server.product.session_mb * _MEGABYTE

    def _usage(self) -> Usage:
        return self.server.usage(self._name, self._connection.server_thread_id[0])

    def _killer(self, connection: Any, what: str = "CONNECTION") -> Callable[[], None]:
        """What kills a connection (or, ``QUERY``, only its statement) from another thread."""
        number = int(connection.server_thread_id[0])

        def kill() -> None:
            # A connection that has ended already is no fault; a dead server shows itself to whoever uses it next.
            with (
                contextlib.suppress(SandboxUnavailable),
                self.server.admin() as admin,
                admin.cursor() as cursor,
                contextlib.suppress(pymysql.err.OperationalError),
            ):
                cursor.execute(f"KILL {what} {number}")

        return kill

    def _end(self, connection: Any) -> None:
        """Closes a connection and sees that the server has ended what it did."""
        self._killer(connection)()
        discard(connection)
        deadline = time.monotonic() + STUCK_SECONDS
        query = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %s"
        with self.server.admin() as admin, admin.cursor() as cursor:
            while True:
                cursor.execute(query, [connection.server_thread_id[0]])
                if cursor.fetchone() == (0,):
                    return
                if time.monotonic() > deadline:
                    raise self.server.fault("a statement can't be ended")
                time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def discard(connection: Any) -> None:
    """Closes a connection without a word to the server."""
    with contextlib.suppress(MySQLError, OSError, AttributeError):
        connection._force_close()
