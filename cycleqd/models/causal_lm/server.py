"""vLLM's own servers as an engine: one base, each child a LoRA adapter that is loaded while the server runs.

The servers are started by whoever owns the GPUs, with

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --max-lora-rank R

R at least the experts' ranks together. They are told of a child by the path of its adapter, so they must see the
folder that this process writes it to.
"""

from __future__ import annotations

import datetime
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.machine.owner import temporary_folder
from cycleqd.models.causal_lm.adapter_server import AdapterServer, Rendered
from cycleqd.models.causal_lm.canary import CANARY_TEXT, CANARY_TOKENS
from cycleqd.models.causal_lm.protocol import ChatRequest, Reply, WeightsNotLoaded, refuse_other_base
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, end_tokens, load_tokenizer, render
from cycleqd.task_vector import FactoredTaskVector, TaskVector, save_lora_adapter

_PREFIXES: Final = (8, 16, 32, CANARY_TOKENS)
"""The canary's prompts: so many tokens of its text. With adapters vLLM's CPU build dies of log-probabilities of the
prompt itself, so the next token's are taken."""
_SAME: Final = 0.1
"""Nats by which log-probabilities of the same weights may differ: what else shares a batch changes their last bits."""


class ServerEngine:
    """An `Engine` on one or several vLLM servers.

    Prompts are rendered here, so that a child reads what it would read in any other engine. What shares a batch is the
    server's business: scores may differ in the last bits of a log-probability from one time to the next.

    Args:
        base: The base's checkpoint directory; its tokenizer renders, its weights are the servers' business.
        urls: Of the servers, at least one.
        adapters: Folder that the servers see under the same path; unless given, a temporary one of this machine.
        max_model_len: Longest conversation including the reply, in tokens.
        concurrency: Conversations under way at a time on each server, at least 1.
        date: Today, as far as the chat template is concerned.
        timeout: Seconds for one reply.

    Raises:
        EndpointUnavailable: A server is down, serves another tokenizer, reads shorter conversations, or loads no
            adapters.
        ValueError: There is no URL, or one is none.
    """

    name = "server"

    def __init__(
        self,
        base: Path,
        urls: Sequence[str],
        *,
        adapters: Path | None = None,
        max_model_len: int = 2048,
        concurrency: int = 64,
        date: datetime.date = TEMPLATE_DATE,
        timeout: float = 600.0,
    ) -> None:
        if not urls:
            raise ValueError("engine.urls must name at least one server")
        self._tokenizer = load_tokenizer(base)
        self._ends = end_tokens(self._tokenizer, base)
        self._date = date
        self._max_model_len = max_model_len
        self._loaded = "base"
        self._adapter: str | None = None
        self._exclusive = threading.Lock()
        self._seen: dict[str, list[list[float]]] = {}
        self._folder = _own_folder(adapters)
        self._servers: list[AdapterServer] = []
        try:
            canary = self._tokenizer(CANARY_TEXT, add_special_tokens=False)["input_ids"]
            self._prompts = [canary[:length] for length in _PREFIXES if length <= len(canary)]
            for url in urls:
                server = AdapterServer(url, ends=self._ends, concurrency=concurrency, timeout=timeout)
                self._servers.append(server)
                server.find_base()
                server.compare(CANARY_TEXT, canary, max_model_len)
            self._seen["base"] = self._canary()
        except BaseException:
            self.close()
            raise

    @property
    def loaded(self) -> str:
        """See `Engine.loaded`; empty after a failed load."""
        return self._loaded

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """See `Engine.load`.

        Raises:
            ValueError: The task vector is no LoRA adapter, or calls itself ``base``.
            EndpointUnavailable: A server does not take the adapter.
            WeightsNotLoaded: See `Engine.load`.
        """
        if genome == self._loaded:
            return
        refuse_other_base(genome, task_vector)
        if task_vector is not None and not (isinstance(task_vector, FactoredTaskVector) and not task_vector.noise):
            raise ValueError(
                f"{genome[:12]} is no LoRA adapter (it comes from fully fine-tuned experts, or carries noise), which "
                "is all that a server loads: set engine.kind to vllm"
            )
        before, self._adapter, self._loaded = self._adapter, None, ""
        try:
            if task_vector is not None and task_vector.names():
                self._adapter = f"cycleqd-{genome[:16]}-{uuid.uuid4().hex[:8]}"
                folder = self._folder / self._adapter
                save_lora_adapter(task_vector, self._servers[0].base, folder)
                for server in self._servers:
                    server.load_adapter(self._adapter, folder)
            for server in self._servers:
                server.serve(self._adapter)
            self._check(genome, changed=_is_not_zero(task_vector))
        finally:  # also where the new one failed: nobody else knows the old one's name
            self._forget(before)
        self._loaded = genome

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`.

        A conversation that leaves no room for ``max_new_tokens`` gets an empty reply that ended by ``length``.

        Raises:
            RuntimeError: The last load failed.
            EndpointUnavailable: A request failed for good; nothing is known of the others.
        """
        if not self._loaded:
            raise RuntimeError("the last load failed: load weights before chatting")
        replies: list[Reply | None] = [None] * len(requests)
        shares: dict[int, list[tuple[int, Rendered]]] = {}
        for position, request in enumerate(requests):
            prompt = render(self._tokenizer, request.messages, reply_follows=True, date=self._date)
            if len(prompt) + request.max_new_tokens > self._max_model_len:
                replies[position] = Reply("", len(prompt), 0, "length")
                continue
            rendered = Rendered(request.messages, request.max_new_tokens, request.stop, request.scope)
            rendered.prompt = prompt
            # All turns of a conversation go to one server, which finds the earlier ones in its cache.
            begun = zlib.crc32(repr((request.scope, list(request.messages[:2]))).encode("utf-8", "replace"))
            shares.setdefault(begun % len(self._servers), []).append((position, rendered))
        with ThreadPoolExecutor(max(1, len(shares)), thread_name_prefix="servers") as pool:
            answers = {
                server: pool.submit(self._servers[server].chat, [one for _, one in share])
                for server, share in shares.items()
            }
            for server, answer in answers.items():
                for (position, _), reply in zip(shares[server], answer.result(), strict=True):
                    replies[position] = reply
        return [reply for reply in replies if reply is not None]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`; what shares a batch on a server is not known here."""
        with self._exclusive:
            yield

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`: of the busiest server."""
        return max((server.busy_seconds() for server in self._servers), default=0.0)

    def close(self) -> None:
        """See `Engine.close`. The servers go on, without what was loaded into them."""
        self._forget(self._adapter)
        self._adapter = None
        for server in self._servers:
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _canary(self) -> list[list[float]]:
        """Log-probabilities of the likeliest next tokens, of each server one after the other."""
        return [values for server in self._servers for values in server.next_tokens(self._prompts)]

    def _check(self, genome: str, *, changed: bool) -> None:
        found, base = self._canary(), self._seen["base"]
        servers = len(self._servers)
        for number, server in enumerate(self._servers):
            part = slice(number * len(found) // servers, (number + 1) * len(found) // servers)
            if changed and found[part] == base[part]:
                raise WeightsNotLoaded(f"{genome}: {server.url} still gives the base model's log-probabilities")
        if not changed and not _close(found, base):
            raise WeightsNotLoaded(f"{genome}: the base was asked for, but the log-probabilities are not its")
        if not _close(self._seen.setdefault(genome, found), found):
            raise WeightsNotLoaded(f"{genome}: its log-probabilities are not those of its earlier load")

    def _forget(self, adapter: str | None) -> None:
        if adapter is None:
            return
        for server in self._servers:
            server.unload_adapter(adapter)
        shutil.rmtree(self._folder / adapter, ignore_errors=True)


def _own_folder(adapters: Path | None) -> Path:
    if adapters is None:
        return temporary_folder()
    folder = adapters / f"cycleqd-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder


def _is_not_zero(vector: TaskVector | None) -> bool:
    return isinstance(vector, FactoredTaskVector) and any(bool(vector.core(name).any()) for name in vector.names())


def _close(first: list[list[float]], second: list[list[float]]) -> bool:
    return all(
        len(one) == len(other) and all(abs(a - b) <= _SAME for a, b in zip(one, other, strict=True))
        for one, other in zip(first, second, strict=True)
    )
