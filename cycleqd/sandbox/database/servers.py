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

    A database whose name was opened before is a replay's: the server died on that episode or on one beside it. It gets
    a server of its own, which goes with it, so that whoever is to blame spoils nobody else's replay.

    Args:
        start: Starts a server.

    Raises:
        SandboxUnavailable: The first server does not start.
    """

    def __init__(self, start: Callable[[], DatabaseServer]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._opened: set[str] = set()
        self._shared: DatabaseServer | None = start()

    def open(self, tables: Sequence[Table], *, name: str, collation: str | None = None) -> Database:
        """As `DatabaseServer.open`, on a server that answers.

        Raises:
            ValueError: A name or a row does not fit.
            SandboxUnavailable: No server can be started, or the one that was has died.
        """
        with self._lock:
            again = name in self._opened
            self._opened.add(name)
        if not again:
            return self._current().open(tables, name=name, collation=collation)
        server = self._start()
        try:
            return server.open(tables, name=name, collation=collation).then(server.close)
        except BaseException:
            with contextlib.suppress(SandboxUnavailable):
                server.close()
            raise

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
