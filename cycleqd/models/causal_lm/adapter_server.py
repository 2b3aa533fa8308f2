"""One vLLM server: completions of token ids, and adapters that are loaded while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cycleqd.models.causal_lm.bounded_http import Answer, NoAnswer
from cycleqd.models.causal_lm.endpoint import EndpointEngine, EndpointUnavailable
from cycleqd.models.causal_lm.endpoint_words import explanation
from cycleqd.models.causal_lm.protocol import ChatRequest

_LOAD_SECONDS: Final = 300.0
"""For an adapter, which a server may have to read over a network."""
_LIKELIEST: Final = 5
"""Tokens whose log-probabilities are compared; vLLM gives at most 20 unless told otherwise."""


class Rendered(ChatRequest):
    """A request whose prompt is known as token ids."""

    prompt: list[int]


class AdapterServer(EndpointEngine):
    """One server's completions of token ids, and its adapters."""

    name = "server"
    _path = "/completions"

    def __init__(self, url: str, *, ends: tuple[int, ...], concurrency: int, timeout: float) -> None:
        super().__init__(url, "", concurrency=concurrency, timeout=timeout)
        self.base = ""
        self._ends = ends

    def find_base(self) -> None:
        """Learns what the server calls its base model.

        Raises:
            EndpointUnavailable: It is down, or lists no model.
        """
        for model in self._asked("GET", "/models")["data"]:
            if isinstance(model, dict) and not model.get("parent"):
                self.base = self.model = str(model["id"])
                self._longest = model.get("max_model_len")
                return
        raise EndpointUnavailable(f"{self.url} lists no base model")

    def compare(self, text: str, tokens: list[int], max_model_len: int) -> None:
        """Sees that the server's tokenizer gives a text's tokens, and that it reads conversations long enough.

        Raises:
            EndpointUnavailable: It does not.
        """
        body = {"model": self.base, "prompt": text, "add_special_tokens": False}
        if self._asked("POST", "/../tokenize", body).get("tokens") != tokens:
            raise EndpointUnavailable(f"{self.url} serves {self.base}, whose tokenizer is not that of model.name")
        if isinstance(self._longest, int) and self._longest < max_model_len:
            raise EndpointUnavailable(
                f"{self.url} reads {self._longest} tokens: start it with --max-model-len {max_model_len}, or set "
                "engine.max_model_len to less"
            )

    def version(self) -> str:
        """The version of vLLM that answers.

        Raises:
            EndpointUnavailable: It does not say.
        """
        return str(self._asked("GET", "/../version").get("version", "unknown"))

    def serve(self, adapter: str | None) -> None:
        """From now on replies are an adapter's, or the base's."""
        self.model = adapter or self.base

    def load_adapter(self, name: str, folder: Path) -> None:
        """Has the server read an adapter.

        Raises:
            EndpointUnavailable: It refuses, or cannot read the folder.
        """
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        try:
            self._asked("POST", "/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}, reads=False)
        except EndpointUnavailable as error:
            raise EndpointUnavailable(
                f"{error}. The server must be started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and "
                f"--max-lora-rank {rank} or more, and must see {folder} (engine.adapters)"
            ) from None

    def unload_adapter(self, name: str) -> None:
        """Has the server forget an adapter, if it can still be asked."""
        try:
            self._asked("POST", "/unload_lora_adapter", {"lora_name": name}, reads=False)
        except EndpointUnavailable:
            return

    def next_tokens(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        """Log-probabilities of the likeliest tokens after each prompt, sorted.

        Raises:
            EndpointUnavailable: The server gives none.
        """
        body = {"model": self.model, "prompt": list(prompts), "max_tokens": 1, "temperature": 0,
                "logprobs": _LIKELIEST, "cache_salt": "canary"}  # fmt: skip
        try:
            choices = sorted(self._asked("POST", self._path, body)["choices"], key=lambda choice: choice["index"])
            return [sorted(map(float, choice["logprobs"]["top_logprobs"][0].values())) for choice in choices]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EndpointUnavailable(f"{self.url} gives no log-probabilities ({type(error).__name__})") from None

    def _asked(self, method: str, path: str, body: Any = None, *, reads: bool = True) -> dict[str, Any]:
        """An answer's JSON; empty where it is not read."""
        url = (
            f"{self.url.removesuffix('/v1')}{path.removeprefix('/..')}" if path.startswith("/..") else self.url + path
        )
        data = json.dumps(body).encode() if body is not None else None
        try:
            answer: Answer = self._client.exchange(method, url, seconds=_LOAD_SECONDS, body=data)
        except NoAnswer as error:
            raise EndpointUnavailable(f"{self.url}: nothing answers ({error})") from None
        if answer.status != 200:
            raise EndpointUnavailable(self._refusal(answer) if answer.status != 404 else self._missing(path, answer))
        if not reads:
            return {}
        try:
            found = json.loads(answer.body)
            if isinstance(found, dict):
                return found
        except (ValueError, RecursionError):
            pass
        raise EndpointUnavailable(f"{self.url}{path}: an answer that is not vLLM's")

    def _missing(self, path: str, answer: Answer) -> str:
        return f"{self.url}{path}: status 404 {self._redaction.fault(explanation(answer))[:200]}".rstrip()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        assert isinstance(request, Rendered)  # noqa: S101 -- tells mypy what `ServerEngine.chat` sends
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": request.prompt,
            "max_tokens": request.max_new_tokens,
            "temperature": 0,
            "stop": list(request.stop),
            "stop_token_ids": list(self._ends),
        }
        return body | ({"cache_salt": request.scope} if request.scope else {})

    def _text(self, choice: Any) -> Any:
        return choice["text"]


def server_version(urls: Sequence[str]) -> str:
    """The versions of vLLM that servers say they are, e.g. ``vllm 0.32.0``.

    Raises:
        EndpointUnavailable: A server is down.
    """
    found = []
    for url in urls:
        server = AdapterServer(url, ends=(), concurrency=1, timeout=_LOAD_SECONDS)
        try:
            found.append(f"vllm {server.version()}")
        finally:
            server.close()
    return ", ".join(sorted(set(found)))
