"""Any OpenAI-compatible chat endpoint as an engine: reference models that are evaluated, never merged."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from cycleqd.machine.loopback import is_loopback
from cycleqd.messages import Message, refuse_images, whole_text
from cycleqd.models.causal_lm.bounded_http import MOST_BYTES, Answer, BoundedClient, NoAnswer
from cycleqd.models.causal_lm.endpoint_words import explanation, is_too_long, refused_option
from cycleqd.models.causal_lm.protocol import ChatRequest, Reply
from cycleqd.models.causal_lm.redaction import Redaction
from cycleqd.urls import without_credentials

if TYPE_CHECKING:  # whoever only talks to an endpoint needs no torch
    from cycleqd.task_vector import TaskVector

KEY_VARIABLE: Final = "OPENAI_API_KEY"
"""Environment variable with the endpoint's key; the only place it is read from, and it is written nowhere."""

_CHECK_SECONDS: Final = 10.0
_MOST_STOPS: Final = 4
"""Stop strings that OpenAI takes in one request; replies are cut here at all of them anyway."""
_LONGEST_WAIT: Final = 60.0
_MOST_CHARACTERS: Final = 512
"""Of one token, with room to spare; a reply of more was not made with the tokens that were asked for."""
_SHOWN: Final = 300
"""Characters of a server's explanation that an error shows."""
_PASSING: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Answers after which the same request may well succeed."""
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
        timeout: Seconds that one attempt may take in all, and that a server may ask to wait for.
        retries: Further attempts after a fault that may pass (429, 5xx, a broken connection, an unreadable reply).
        backoff: Seconds before the first of them, doubled for each next; a random half is taken off.

    Raises:
        ValueError: The URL is not one, or carries a password; or the key is none that can be sent.
    """

    name = "endpoint"
    _path = "/chat/completions"

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
        key = _key()
        self._redaction = Redaction(key)
        self._client = BoundedClient(
            {"Authorization": f"Bearer {key}"} if key else {},
            connections=concurrency,
            proxies=not is_loopback(urlsplit(self.url).hostname or ""),
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="endpoint")
        self._timeout = timeout
        self._closing = threading.Event()
        self._refused: set[str] = set()
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

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """Refused: what an endpoint serves cannot be changed from here.

        Raises:
            RuntimeError: Other weights than the endpoint's are asked for.
        """
        if genome != self.loaded or task_vector is not None:
            raise RuntimeError(f"an endpoint serves its own model ({self.loaded}) and cannot load {genome[:12]}")

    def check(self) -> None:
        """Asks the endpoint for its models; takes a second where nothing answers.

        Raises:
            EndpointUnavailable: It is down, refuses the key, or does not serve the model.
        """
        try:
            answer = self._client.exchange("GET", f"{self.url}/models", seconds=min(_CHECK_SECONDS, self._timeout))
        except NoAnswer as error:
            raise EndpointUnavailable(f"{self.url}: nothing answers ({error})") from None
        if answer.status in (401, 403):
            raise EndpointUnavailable(self._refusal(answer))
        if answer.status != 200:
            return  # not every server lists its models; the first request will tell
        served = _names(answer)
        if served and self.model not in served:
            shown = self._redaction.fault(", ".join(name[:80] for name in served[:8]))
            more = ", ..." if len(served) > 8 else ""
            raise EndpointUnavailable(f"{self.url} serves no model {self.model!r}; there are {shown}{more}")

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
        """See `Engine.close`; what is under way fails. May be called more than once."""
        self._closing.set()
        self._client.close()
        self._pool.shutdown(cancel_futures=True)

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
        for attempt in range(self._retries + 1):
            try:
                return _cut(self._ask(request), request)
            except _Passing as fault:
                if attempt == self._retries or self._closing.is_set():
                    raise EndpointUnavailable(f"{self.url}: {fault}, {attempt + 1} times in a row") from None
                with self._lock:
                    share = 1 - self._jitter.random() / 2
                wait = max(min(fault.wait, self._timeout), self._backoff * 2**attempt * share)
                _log.warning("%s: %s; again in %.1f s", self.url, fault, min(wait, _LONGEST_WAIT))
                self._closing.wait(min(wait, _LONGEST_WAIT))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask(self, request: ChatRequest) -> Reply:
        body = self._body(request)
        try:
            answer = self._client.exchange(
                "POST", f"{self.url}{self._path}", seconds=self._timeout, body=json.dumps(body).encode()
            )
        except NoAnswer as error:
            raise _Passing(f"no reply ({error})") from None
        if is_too_long(answer):
            return Reply("", 0, 0, "length")
        if answer.status in _PASSING:
            raise _Passing(f"status {answer.status}", _retry_after(answer))
        if answer.status == 400 and any(words in answer.text for words in _REFUSED):
            return Reply("", 0, 0, "stop")
        if option := refused_option(answer, body):
            with self._lock:
                news = option not in self._refused
                self._refused.add(option)
            if news:
                _log.warning("%s refuses %s: asking without it", self.url, option)
            if self._body(request) != body:  # what was refused is not sent again, so this ends
                return self._ask(request)
        if answer.status != 200:
            raise EndpointUnavailable(self._refusal(answer))
        reply = self._parse(answer)
        return reply._replace(text=self._redaction.reply(reply.text))

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        """The request, without what the server has refused."""
        refused = self._refused
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _messages(request.messages, fold="system" in refused),
            limit: request.max_new_tokens,
            "temperature": 0,
            "stop": list(request.stop[:_MOST_STOPS]),
        }
        left_out = refused - {"max_tokens"} if request.stop else refused - {"max_tokens"} | {"stop"}
        return {name: value for name, value in body.items() if name not in left_out}

    def _parse(self, answer: Answer) -> Reply:
        """Reads a reply; an unreadable one is the server's fault, not the model's, and asked for again."""
        if answer.cut:
            raise _Passing(f"a reply of more than {MOST_BYTES // 2**20} MiB, or one that cannot be unpacked")
        try:
            data = json.loads(answer.body)
            choice = data["choices"][0]
            text = self._text(choice)
            usage = data.get("usage") or {}
            shown, generated = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
            reason = choice.get("finish_reason")
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _Passing(f"a reply that is no completion ({type(error).__name__})") from None
        if not isinstance(text, str):
            raise _Passing(f"a reply whose content is {type(text).__name__}")
        return Reply(text, shown, generated, "length" if reason == "length" else "stop")

    def _text(self, choice: Any) -> Any:
        """What a choice of the answer says."""
        message = choice["message"]
        content = message.get("content")
        return content if content is not None else message.get("refusal") or ""

    def _refusal(self, answer: Answer) -> str:
        said = self._redaction.fault(explanation(answer))[:_SHOWN]
        text = f"{self.url}: status {answer.status}{f': {said}' if said else ''}"
        if answer.status in (401, 403):
            known = KEY_VARIABLE in os.environ
            text += f" ({KEY_VARIABLE} was refused)" if known else f" (set {KEY_VARIABLE} to the endpoint's key)"
        return text


def _key() -> str:
    """The endpoint's key; empty where there is none.

    Raises:
        ValueError: It holds what no header can; the text does not repeat it.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"{KEY_VARIABLE} holds line breaks or letters that no key has: set it again")
    return key


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint {without_credentials(repr(url))}: expected a URL such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ValueError(f"endpoint: put the key into {KEY_VARIABLE}, not into the URL")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))


def _messages(messages: Sequence[Message], *, fold: bool) -> list[Message]:
    """A conversation of whole text; the system's message may be folded into the first of the user's."""
    refuse_images(messages, "an endpoint")
    whole: list[Message] = [{"role": one["role"], "content": whole_text(one["content"])} for one in messages]
    if fold and len(whole) > 1 and (whole[0]["role"], whole[1]["role"]) == ("system", "user"):
        return [{"role": "user", "content": f"{whole[0]['content']}\n\n{whole[1]['content']}"}, *whole[2:]]
    return whole


def _count(tokens: Any) -> int:
    """A number of tokens; 0 for what is none."""
    return tokens if type(tokens) is int and 0 <= tokens < 2**31 else 0


def _cut(reply: Reply, request: ChatRequest) -> Reply:
    cuts = [found for word in request.stop if (found := reply.text.find(word)) >= 0]
    if cuts:
        reply = reply._replace(text=reply.text[: min(cuts)], finish_reason="stop")
    most = request.max_new_tokens * _MOST_CHARACTERS
    return reply._replace(text=reply.text[:most], finish_reason="length") if len(reply.text) > most else reply


def _names(answer: Answer) -> list[str]:
    try:
        return sorted(str(item["id"]) for item in json.loads(answer.body)["data"])
    except (LookupError, TypeError, ValueError, RecursionError):
        return []


def _retry_after(answer: Answer) -> float:
    try:
        wait = float(answer.headers.get("retry-after", 0))
    except ValueError:  # a date; the usual waiting time will do
        return 0.0
    return wait if wait > 0 else 0.0  # not a number is no wait, either
