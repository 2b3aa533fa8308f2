"""The servers of one evaluation: one for all its episodes, a new one after a death, one of its own for a replay."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from cycleqd.sandbox.database.server import DatabaseServer
from cycleqd.sandbox.database.session import Database
from cycleqd.sandbox.database.values import Table
from cycleqd.sandbox.errors import SandboxUnavailable


class DatabaseServers:
    """Opens databases on a shared server that is replaced when it dies; a context manager; thread-safe.

    An episode whose database became unavailable, because its server died on it or on one beside it, may be played
    again under the same name. Then it gets a server of its own, which goes with it, so that whoever is to blame spoils
    nobody else's replay.

    Args:
        start: Starts a server.

    Raises:
        SandboxUnavailable: The first server does not start.
    """

    def __init__(self, start: Callable[[], DatabaseServer]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._last: dict[str, Database | None] = {}
        self._shared: DatabaseServer | None = start()

    def open(self, tables: Sequence[Table], *, name: str, collation: str | None = None) -> Database:
        """As `DatabaseServer.open`, on a server that answers.

        Raises:
            ValueError: A name or a row does not fit.
            SandboxUnavailable: No server can be started, or the one that was has died.
        """
        with self._lock:
            replayed = name in self._last and ((last := self._last[name]) is None or last.unavailable)
            self._last[name] = None  # until it is open
        server = self._start() if replayed else self._current()
        try:
            database = server.open(tables, name=name, collation=collation)
        except BaseException as error:
            if replayed:
                with contextlib.suppress(SandboxUnavailable):
                    server.close()
            if isinstance(error, ValueError):
                with self._lock:
                    del self._last[name]
            raise
        with self._lock:
            self._last[name] = database
        return database.then(server.close) if replayed else database

    def close(self) -> None:
        """Removes the shared server; idempotent. Databases with servers of their own remove those themselves."""
        with self._lock:
            server, self._shared = self._shared, None
        if server is not None:
            server.close()

    def _current(self) -> DatabaseServer:
        """The shared server, in place of a dead one if need be."""
        with self._lock:
            if self._shared is not None and not self._shared.usable:
                dead, self._shared = self._shared, None
                # Whoever still plays there learns at once that it is gone.
                with contextlib.suppress(SandboxUnavailable):
                    dead.close()
            if self._shared is None:
                self._shared = self._start()
            return self._shared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
