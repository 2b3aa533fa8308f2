"""Any OpenAI-compatible chat endpoint as an engine: reference models that are evaluated, never merged."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np

from cycleqd.inference.protocol import ChatRequest, Reply

if TYPE_CHECKING:  # whoever only talks to an endpoint needs no torch
    from cycleqd.task_vector import TaskVector

KEY_VARIABLE: Final = "OPENAI_API_KEY"
"""Environment variable with the endpoint's key; the only place it is read from, and it is written nowhere."""

_CONNECT_SECONDS: Final = 1.0
_MOST_STOPS: Final = 4
"""Stop strings that OpenAI takes in one request; replies are cut here at all of them anyway."""
_LONGEST_WAIT: Final = 60.0
_PASSING: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Answers after which the same request may well succeed."""
_TOO_LONG: Final = ("context_length_exceeded", "maximum context length", "max_model_len")
_REFUSED: Final = ("content_filter", "content_policy_violation")

_log = logging.getLogger(__name__)


class EndpointUnavailable(OSError):
    """The endpoint cannot be reached, refuses the request, or does not answer as a chat endpoint does."""


class _Passing(Exception):
    """A fault that may pass.

    Attributes:
        wait: Seconds that the server asks to wait for.
    """

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


class EndpointEngine:
    """An `Engine` whose model lives behind ``POST /chat/completions``.

    Replies are asked for at temperature 0; whether the same question gives the same answer is up to the server.
    Requests of concurrent `chat` calls share one pool of connections.

    Args:
        url: Base URL, with its ``/v1``; a URL without any path gets one.
        model: The name that the endpoint knows the model by.
        concurrency: Requests under way at a time, at least 1.
        timeout: Seconds that one reply may take.
        retries: Further attempts after a fault that may pass (429, 5xx, a broken connection, an unreadable reply).
        backoff: Seconds before the first of them, doubled for each next; a random half is taken off.

    Raises:
        ValueError: The URL is not one, or carries a password.
    """

    name = "endpoint"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 1.0,
    ) -> None:
        self.url = _base_url(url)
        self.model = model
        key = os.environ.get(KEY_VARIABLE)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=concurrency),
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="endpoint")
        self._retries = retries
        self._backoff = backoff
        self._jitter = np.random.default_rng()  # of waiting times only: clients must not come back all at once
        self._lock = threading.Lock()
        self._exclusive = threading.Lock()
        self._active = 0
        self._since = 0.0
        self._busy = 0.0

    @property
    def loaded(self) -> str:
        """See `Engine.loaded`: the endpoint's model, always."""
        return f"{self.model}@{urlsplit(self.url).netloc}"

    def load(self, identity: str, task_vector: TaskVector | None) -> None:
        """Refused: what an endpoint serves cannot be changed from here.

        Raises:
            RuntimeError: Other weights than the endpoint's are asked for.
        """
        if identity != self.loaded or task_vector is not None:
            raise RuntimeError(f"an endpoint serves its own model ({self.loaded}) and cannot load {identity[:12]}")

    def check(self) -> None:
        """Asks the endpoint for its models; takes a second where nothing answers.

        Raises:
            EndpointUnavailable: It is down, refuses the key, or does not serve the model.
        """
        try:
            response = self._client.get(f"{self.url}/models", timeout=httpx.Timeout(10.0, connect=_CONNECT_SECONDS))
        except httpx.HTTPError as error:
            raise EndpointUnavailable(f"{self.url}: nothing answers ({type(error).__name__}): {error}") from None
        if response.status_code in (401, 403):
            raise EndpointUnavailable(self._refusal(response))
        if response.status_code != 200:
            return  # not every server lists its models; the first request will tell
        served = _names(response)
        if served and self.model not in served:
            shown = ", ".join(served[:8]) + (", ..." if len(served) > 8 else "")
            raise EndpointUnavailable(f"{self.url} serves no model {self.model!r}; there are {shown}")

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`.

        A conversation that is too long for the model gets an empty reply that ended by ``length``; a refusal is a
        reply like any other, empty where the server withholds it.

        Raises:
            EndpointUnavailable: A request failed for good; nothing is known of the others.
        """
        with self._counted():
            return list(self._pool.map(self._reply, requests))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`; what shares a batch on the server is not known here."""
        with self._exclusive:
            yield

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`."""
        with self._lock:
            return self._busy + (time.monotonic() - self._since if self._active else 0.0)

    def close(self) -> None:
        """See `Engine.close`; may be called more than once."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            if not self._active:
                self._since = time.monotonic()
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if not self._active:
                    self._busy += time.monotonic() - self._since

    def _reply(self, request: ChatRequest) -> Reply:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(request.messages),
            "max_tokens": request.max_new_tokens,
            "temperature": 0,
        }
        if request.stop:
            body["stop"] = list(request.stop[:_MOST_STOPS])
        for attempt in range(self._retries + 1):
            try:
                return _cut(self._ask(body), request.stop)
            except _Passing as fault:
                if attempt == self._retries:
                    raise EndpointUnavailable(f"{self.url}: {fault}, {attempt + 1} times in a row") from None
                with self._lock:
                    share = 1 - self._jitter.random() / 2
                wait = max(fault.wait, self._backoff * 2**attempt * share)
                _log.warning("%s: %s; again in %.1f s", self.url, fault, wait)
                time.sleep(min(wait, _LONGEST_WAIT))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask(self, body: Mapping[str, Any]) -> Reply:
        try:
            response = self._client.post(f"{self.url}/chat/completions", json=body)
        except httpx.TransportError as error:
            raise _Passing(f"no reply ({type(error).__name__})") from None
        if response.status_code in _PASSING:
            raise _Passing(f"status {response.status_code}", _retry_after(response))
        if response.status_code == 400 and any(words in response.text for words in _TOO_LONG):
            return Reply("", 0, 0, "length")
        if response.status_code == 400 and any(words in response.text for words in _REFUSED):
            return Reply("", 0, 0, "stop")
        if response.status_code != 200:
            raise EndpointUnavailable(self._refusal(response))
        return _parse(response)

    def _refusal(self, response: httpx.Response) -> str:
        text = f"{self.url}: status {response.status_code}: {_message(response)}"
        if response.status_code in (401, 403):
            known = KEY_VARIABLE in os.environ
            text += f" ({KEY_VARIABLE} was refused)" if known else f" (set {KEY_VARIABLE} to the endpoint's key)"
        return text


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint {url!r}: expected a URL such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ValueError(f"endpoint: put the key into {KEY_VARIABLE}, not into the URL")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))


def _parse(response: httpx.Response) -> Reply:
    """Reads a reply; an unreadable one is the server's fault, not the model's, and asked for again."""
    try:
        data = response.json()
        choice = data["choices"][0]
        message = choice["message"]
        content = message.get("content")
        text = content if content is not None else message.get("refusal") or ""
        usage = data.get("usage") or {}
        shown, generated = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _Passing(f"a reply that is no chat completion ({type(error).__name__})") from None
    if not isinstance(text, str):
        raise _Passing(f"a reply whose content is {type(text).__name__}")
    return Reply(text, shown, generated, "length" if choice.get("finish_reason") == "length" else "stop")


def _cut(reply: Reply, stop: Sequence[str]) -> Reply:
    cuts = [found for word in stop if (found := reply.text.find(word)) >= 0]
    return reply._replace(text=reply.text[: min(cuts)], finish_reason="stop") if cuts else reply


def _names(response: httpx.Response) -> list[str]:
    try:
        return sorted(str(item["id"]) for item in response.json()["data"])
    except (json.JSONDecodeError, LookupError, TypeError):
        return []


def _message(response: httpx.Response) -> str:
    """What the server says is wrong, short."""
    try:
        error = response.json()["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (json.JSONDecodeError, LookupError, TypeError):
        text = response.text
    return " ".join(text.split())[:300] or response.reason_phrase


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:  # a date; the usual waiting time will do
        return 0.0
