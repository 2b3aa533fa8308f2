"""Requests to a guest and its replies, over the standard streams of its container.

Docker multiplexes the streams: a frame is one byte for the stream (1 output, 2 errors), three zero bytes, the
length as four bytes big-endian, then the data (Docker Engine API, "Attach to a container").
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cycleqd.sandbox.errors import SandboxUnavailable

GUEST_DIRECTORY = Path(__file__).resolve().parent / "guest"
GUEST_PACKAGE = "cycleqd.sandbox.guest"
LINE_BYTES = 64 * 1024 * 1024
"""A longer line than any guest sends; whoever writes more is no guest."""
TAIL_BYTES = 4_096
"""What is kept of the container's error stream for messages."""
ERROR_STREAM = 2


def guest_source(name: str, *modules: str) -> bytes:
    """The source of the guest `name`.

    Args:
        name: The guest.
        modules: Further files of this package's folder `guest` that it imports, in an order in which each needs
            earlier ones only.
    """
    source = (GUEST_DIRECTORY / f"{name}.py").read_bytes()
    if not modules:
        return source
    parts = ["import sys, types"]
    for module in modules:
        full = f"{GUEST_PACKAGE}.{module}"
        text = (GUEST_DIRECTORY / f"{module}.py").read_text(encoding="utf-8")
        parts += [
            f"sys.modules[{full!r}] = types.ModuleType({full!r})",
            f"exec(compile({text!r}, {full!r}, 'exec', dont_inherit=True), sys.modules[{full!r}].__dict__)",
        ]
    parts.append(f"exec(compile({source.decode()!r}, {name!r}, 'exec', dont_inherit=True))")
    return "\n".join(parts).encode()


def guest_command(source: bytes, *options: str) -> list[str]:
    """The first process of a guest's container: it reads the guest's source from its standard input.

    Args:
        source: The guest's source, of which only the length is used here.
        options: For Python.
    """
    reader = f"import os\ns=b''\nwhile len(s)<{len(source)}: s+=os.read(0,{len(source)}-len(s)) or exit(1)\nexec(s)"
    return ["python3", *options, "-c", reader]


def valid(value: Any) -> Any:
    """A guest's JSON with every text as valid Unicode.

    JSON can spell halves of surrogate pairs (a program's ``chr(0xD800)``), which nothing can encode, store or show:
    they become question marks.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [valid(item) for item in value]
    if isinstance(value, dict):
        return {valid(key): valid(item) for key, item in value.items()}
    return value


class Channel:
    """The host's end of a container's standard streams; thread-safe.

    Args:
        stream: A socket attached to the container; closed by `close`.
        name: The container's name, for messages.
    """

    def __init__(self, stream: socket.socket, name: str) -> None:
        self._stream = stream
        self._name = name
        self._sending = threading.Lock()
        self._state = threading.Lock()
        self._waiting: dict[str, Future[dict[str, Any]]] = {}
        self._tail = b""
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        """The container's name."""
        return self._name

    @property
    def ended(self) -> bool:
        """Whether the container's streams have ended, and so the container."""
        return self._ended.is_set()

    def send(self, data: bytes) -> None:
        """Writes to the container's standard input.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        try:
            with self._sending:
                self._stream.sendall(data)
        except OSError as error:
            raise self._fault(f"writing to it failed ({error})") from error

    def request(self, payload: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """Sends a request and waits for its reply.

        Args:
            payload: JSON-able; the guest's documentation says what.
            seconds: Time for the reply. The guest keeps time itself, so this is for a guest that is stuck.

        Raises:
            SandboxUnavailable: The container ended, or the time is up.
        """
        request_id = secrets.token_hex(16)
        reply: Future[dict[str, Any]] = Future()
        with self._state:
            if self._ended.is_set():
                raise self._fault("it has ended")
            self._waiting[request_id] = reply
        try:
            self.send(json.dumps({**payload, "id": request_id}).encode() + b"\n")
            return reply.result(timeout=seconds)
        except TimeoutError as error:
            raise self._fault(f"no reply within {seconds:.0f} s") from error
        finally:
            with self._state:
                self._waiting.pop(request_id, None)

    def close(self) -> None:
        """Closes the socket, and with it the container's standard input; idempotent."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._reader.join(timeout=5)
        self._stream.close()

    def _fault(self, what: str) -> SandboxUnavailable:
        tail = self._tail.decode("utf-8", "replace").strip()
        said = f"; it said: {tail}" if tail else ""
        return SandboxUnavailable(
            f"container {self._name}: {what} (removed from outside, out of memory, or Docker stopped); "
            f"retry the evaluation{said}"
        )

    def _read(self) -> None:
        """The reader thread: hands replies to those who wait, fails them all at the end of the streams."""
        line = bytearray()
        try:
            while (frame := self._frame()) is not None:
                kind, data = frame
                if kind == ERROR_STREAM:
                    self._tail = (self._tail + data)[-TAIL_BYTES:]
                    continue
                line += data
                if b"\n" in data:
                    *complete, rest = bytes(line).split(b"\n")
                    line = bytearray(rest)
                    for text in complete:
                        self._deliver(text)
                elif len(line) > LINE_BYTES:
                    line.clear()
        except OSError:
            pass  # closed here or by Docker: the end either way
        with self._state:
            self._ended.set()
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for reply in waiting:
            reply.set_exception(self._fault("it ended while it worked"))

    def _deliver(self, text: bytes) -> None:
        """Gives a reply to the request that it carries the id of; drops everything else."""
        try:
            message = valid(json.loads(text))
            request_id = message.pop("id")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        with self._state:
            reply = self._waiting.pop(request_id, None) if isinstance(request_id, str) else None
        if reply is not None:
            reply.set_result(message)

    def _frame(self) -> tuple[int, bytes] | None:
        header = self._exactly(8)
        if header is None:
            return None
        kind, length = struct.unpack(">BxxxL", header)
        data = self._exactly(length)
        return None if data is None else (kind, data)

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._stream.recv(count - len(data))
            except TimeoutError:
                continue  # the socket's time-out is for sending; silence is no fault
            if not part:
                return None
            data += part
        return bytes(data)
