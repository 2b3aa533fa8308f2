"""The streams between this process and the one that started it."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
from typing import Any


class Link:
    """The two streams; thread-safe."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # whatever a task prints is no event
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[dict[str, Any]]]] = {}
        self.commands: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, what: str, **facts: Any) -> None:
        """Sends an event."""
        line = json.dumps({"what": what, **facts})
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    async def ask(self, name: str, what: str, **facts: Any) -> dict[str, Any]:
        """Sends an event and waits for the command that answers `name`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[dict[str, Any]] = loop.create_future()
        with self._lock:
            self._waiting[name] = loop, future
        self.tell(what, **facts)
        return await future

    def _read(self) -> None:
        with os.fdopen(os.dup(0), encoding="utf-8") as stream:
            for line in stream:
                command = json.loads(line)
                if "to" not in command:
                    self.commands.put(command)
                    continue
                with self._lock:
                    waiting = self._waiting.pop(command["to"], None)
                if waiting is not None:
                    loop, future = waiting
                    loop.call_soon_threadsafe(_settle, future, command)
        os._exit(0)  # who started this process is gone


def _settle(future: asyncio.Future[dict[str, Any]], command: dict[str, Any]) -> None:
    if not future.done():
        future.set_result(command)
