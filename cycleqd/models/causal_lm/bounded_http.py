"""HTTP exchanges that end: by a deadline for all of one, however slowly it trickles, and within a size."""

from __future__ import annotations

import asyncio
import logging
import threading
import zlib
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import httpx

T = TypeVar("T")

MOST_BYTES: Final = 16 * 2**20
"""Of one answer, packed and unpacked."""
_CONNECT_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0

# It logs an answer's headers, in which a server may repeat what it was sent.
logging.getLogger("httpcore").setLevel(logging.INFO)


class NoAnswer(Exception):
    """Nothing answered in time; the text says why and repeats nothing that was sent or received."""


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: HTTP's.
        headers: HTTP's.
        body: At most `MOST_BYTES` of it, unpacked.
        cut: Whether there was more, or it could not be unpacked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool

    @property
    def text(self) -> str:
        """The body as text; what is none is replaced."""
        return self.body.decode("utf-8", "replace")


class BoundedClient:
    """A pool of connections; thread-safe. Redirects are not followed: they could carry the key elsewhere.

    A read's own time-out would let a server that sends a byte now and then go on for ever, so every exchange is a task
    of an event loop in a thread, and cancelled at its deadline.

    Args:
        headers: Go with every request.
        connections: Most connections at a time.
        proxies: Whether the environment's proxies are used.
    """

    def __init__(self, headers: Mapping[str, str], *, connections: int, proxies: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._closing = threading.Lock()
        self._closed = False
        # Compression is not asked for, and undone here where a server insists: a library would unpack without a limit.
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity", **headers},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=connections),
            follow_redirects=False,
            mounts=None if proxies else dict.fromkeys(("all://", "http://", "https://")),
        )
        self._thread.start()

    def exchange(self, method: str, url: str, *, seconds: float, body: bytes | None = None) -> Answer:
        """Sends a request and reads the answer.

        Args:
            method: HTTP's.
            url: Where to.
            seconds: Time for all of it.
            body: JSON, for a POST.

        Raises:
            NoAnswer: The connection failed, or the time is up.
        """
        return self._run(self._exchange(method, url, seconds, body))

    def close(self) -> None:
        """Cancels what is under way and closes the connections; may be called more than once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._closing:
            if self._closed:
                work.close()
                raise NoAnswer("closed here")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    async def _exchange(self, method: str, url: str, seconds: float, body: bytes | None) -> Answer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, url, content=body, headers=headers) as response,
            ):
                return await _read(response)
        except TimeoutError:
            raise NoAnswer(f"Timeout: no whole answer within {seconds:g} s") from None
        except asyncio.CancelledError:
            raise NoAnswer("closed here") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise NoAnswer(type(error).__name__) from None

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()


async def _read(response: httpx.Response) -> Answer:
    raw = bytearray()
    cut = False
    async for part in response.aiter_raw(65_536):
        raw += part
        if cut := len(raw) > MOST_BYTES:
            break
    body = bytes(raw[:MOST_BYTES])
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        body, unpacked = _unpacked(body)
        cut = cut or not unpacked
    elif encoding not in ("", "identity"):
        cut = True
    return Answer(response.status_code, response.headers, body, cut)


def _unpacked(body: bytes) -> tuple[bytes, bool]:
    """At most `MOST_BYTES` of a packed body, and whether that is all of it."""
    unpacker = zlib.decompressobj(47)  # either format, by its head
    try:
        found = unpacker.decompress(body, MOST_BYTES)
    except zlib.error:
        return b"", False
    return found, unpacker.eof
