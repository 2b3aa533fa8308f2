"""A database server in a container; a fresh database and user for every episode."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pymysql
import pymysql.cursors
from pymysql.err import MySQLError

from cycleqd.sandbox.channel import Channel
from cycleqd.sandbox.database.faults import (
    DAMAGE,
    LOCKED_OUT,
    described,
    error_number,
    is_connection_error,
    is_of_the_data,
)
from cycleqd.sandbox.database.products import Product
from cycleqd.sandbox.database.relay import Way
from cycleqd.sandbox.database.session import Database, Usage, discard
from cycleqd.sandbox.database.values import Table, check, creation, insertion
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

START_SECONDS = 120.0
ADMIN_SECONDS = 30
READ_SECONDS = 10.0
"""How much longer than the server's own limit a connection may be silent before the server counts as dead."""
LOAD_BYTES = 196_608
"""Length of the statements that load rows, below the server's max_allowed_packet."""
PIDS = 256
NAME_DIGITS = 12


class DatabaseServer:
    """A server that listens on a socket which nobody else reaches; a context manager.

    Thread-safe: episodes open, use and close their databases in parallel. Every method raises `SandboxUnavailable`
    once the server is gone, and no exception of the client library ever leaves it.

    Args:
        product: Which kind of server the container runs.
        channel: The container's streams.
        way: How its socket is reached; closed by `close`.
        password: The administrator's.
        limits: Of statements.
        remove: Removes the container.
    """

    ADMIN = "sandbox_admin"

    def __init__(
        self,
        product: Product,
        channel: Channel,
        way: Way,
        password: str,
        limits: Limits,
        remove: Callable[[], None],
    ) -> None:
        self.product = product
        self.limits = limits
        self._channel = channel
        self._way = way
        self._password = password
        self._remove = remove
        self._idle: queue.LifoQueue[pymysql.Connection[Any]] = queue.LifoQueue()
        self._closed = False
        self._failed = False
        self._working = 0
        self._names: set[str] = set()
        self._naming = threading.Lock()
        # One line a statement, then an empty line (serve.sh).
        statements = (
            f"CREATE USER '{self.ADMIN}'@'localhost' IDENTIFIED BY '{password}';",
            f"GRANT ALL PRIVILEGES ON *.* TO '{self.ADMIN}'@'localhost' WITH GRANT OPTION;",
            *product.initial,
        )
        channel.send("".join(f"{statement}\n" for statement in (*statements, "")).encode())

    @property
    def usable(self) -> bool:
        """Whether nothing is known that keeps this server from serving."""
        return not (self._closed or self._failed or self._channel.ended)

    @property
    def alone(self) -> bool:
        """Whether at most one database is open."""
        with self._naming:
            return len(self._names) <= 1

    @property
    def busy(self) -> bool:
        """Whether any statement runs that does not end at once; asked by an episode whose own has ended."""
        with self._naming:
            return self._working > 0

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While a statement runs that does not end at once."""
        with self._naming:
            self._working += 1
        try:
            yield
        finally:
            with self._naming:
                self._working -= 1

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
                    raise self.fault(f"it does not start ({error})") from error
                time.sleep(0.01)
            else:
                return

    def open(self, tables: Sequence[Table], *, name: str = "", collation: str | None = None) -> Database:
        """Creates a database with the given tables, and a user for it.

        Args:
            tables: Tables.
            name: What the database and its user are named after, e.g. a sample's id. The server's messages and results
                show those names to whoever plays the episode, so they follow from this alone: an episode that is
                played again sees the same. Databases that are open at once differ even if this does not.
            collation: How its texts compare; None is the product's own.

        Raises:
            ValueError: A name or a row does not fit.
            SandboxUnavailable: The server is gone.
        """
        name = self._free_name(name)
        try:
            statements = (
                # What an earlier drop may have left is replaced.
                f"DROP DATABASE IF EXISTS {name}",
                f"DROP USER IF EXISTS {name}@localhost",
                f"CREATE DATABASE {name} COLLATE {self.product.collation_of(collation)}",
                # Without a password: the socket is private, and SHOW GRANTS would show the password's hash.
                f"CREATE USER {name}@localhost",
                f"GRANT {self.product.privileges} ON {name}.* TO {name}@localhost",
                f"USE {name}",
            )
            with self.admin() as connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                for table in tables:
                    self._load(cursor, table)
            return Database(self, name, {table.name: table.columns for table in tables})
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

    def connect(self, user: str) -> Any:
        """A connection of an episode's user, with its database selected.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        if self._closed:
            raise SandboxUnavailable("this database server is closed")
        seconds = self.limits.command_seconds + READ_SECONDS
        try:
            return self._connect(user, "", seconds, database=user)
        except (MySQLError, OSError) as error:
            if error_number(error) not in LOCKED_OUT:
                raise self.fault(str(error)) from error
        # Users may set passwords of their own.
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER USER {user}@localhost IDENTIFIED BY '' PASSWORD EXPIRE NEVER ACCOUNT UNLOCK")
        try:
            return self._connect(user, "", seconds, database=user)
        except (MySQLError, OSError) as error:
            raise self.fault(str(error)) from error

    def usage(self, name: str, connection_id: int) -> Usage:
        """What an episode and all of them take now.

        Raises:
            SandboxUnavailable: The server is gone.
        """
        files = name.replace("_", r"\_") + "/%"
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(self.product.usage, {"id": connection_id, "files": files})
            memory, own, every = cursor.fetchone() or (0, 0, 0)
        return Usage(int(memory), int(own), int(every))

    @contextlib.contextmanager
    def admin(self) -> Iterator[pymysql.Connection[Any]]:
        """A connection of the administrator, for one thread; taken back afterwards.

        Raises:
            SandboxUnavailable: The server is gone, or does not do what an administrator may ask for.
        """
        if self._closed:
            raise SandboxUnavailable("this database server is closed")
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            try:
                connection = self._connect(self.ADMIN, self._password, ADMIN_SECONDS)
            except (MySQLError, OSError) as error:
                raise self.fault(str(error)) from error
        try:
            yield connection
        except (MySQLError, OSError) as error:
            if is_connection_error(error) or error_number(error) in DAMAGE or not connection.open:
                discard(connection)
                raise self.fault(described(error)) from error
            self._idle.put(connection)
            raise SandboxUnavailable(f"the database server fails ({described(error)}); retry the evaluation") \
                from error  # fmt: skip
        except BaseException:
            discard(connection)
            raise
        self._idle.put(connection)

    def fault(self, what: str) -> SandboxUnavailable:
        """The exception that says that this server is of no more use; `usable` is false from now on."""
        self._failed = True
        return SandboxUnavailable(
            f"the database server is gone or does not answer ({what}); retry the evaluation with a new server"
        )

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
            self._way.close()

    def _load(self, cursor: pymysql.cursors.Cursor, table: Table) -> None:
        """Creates a table and fills it.

        Raises:
            ValueError: The table is at fault.
            MySQLError: The server is.
        """
        check(table)
        try:
            cursor.execute(creation(table))
            if table.rows:
                cursor.max_stmt_length = LOAD_BYTES  # type: ignore[misc]  # the stubs take it for the class's alone
                cursor.executemany(insertion(table), table.rows)
        except MySQLError as error:
            if is_of_the_data(error):
                raise ValueError(f"the tables can't be loaded: {error}") from error
            raise

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

    def _connect(self, user: str, password: str, seconds: float, database: str | None = None) -> Any:
        # Any: the stubs' connection is generic in its cursor, which differs.
        connection: Any = pymysql.connect(
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            # Or texts of a session's own and columns, which may have another collation, would not compare.
            init_command="SET collation_connection = @@collation_database" if database else self.product.unlimited,
            autocommit=True,
            local_infile=False,
            # The socket is private; making a TLS context would take 40 ms.
            ssl_disabled=True,
            read_timeout=seconds,
            write_timeout=ADMIN_SECONDS,
            defer_connect=True,
        )
        connection._secure = True  # as the library has it for Unix sockets: or it would encrypt the password itself
        connection.connect(self._way.dial())
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
