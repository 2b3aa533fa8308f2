"""Plain transformers in this process: the engine that works wherever training works."""

from __future__ import annotations

import datetime
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria

from cycleqd.base_model import BaseWeights, parameters_of
from cycleqd.models.causal_lm.canary import CANARY_TEXT, CANARY_TOKENS, Canary, LogProbabilities, finite
from cycleqd.models.causal_lm.likelihoods import log_likelihoods
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.models.causal_lm.protocol import (
    ChatRequest,
    Continuation,
    Likelihood,
    Reply,
    TextRequest,
    check_continuations,
    refuse_other_base,
)
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, end_tokens, load_tokenizer, render
from cycleqd.models.hardware import torch_device
from cycleqd.task_vector import TaskVector

_STOP_WINDOW: Final = 8
"""Tokens looked at for a stop string beyond its own length (a token may be less than one character)."""


class TransformersEngine:
    """An `Engine` on `generate`: left-padded greedy batches, one at a time.

    Concurrent `chat` calls wait for each other, so every call is a batch of its own.

    Args:
        base: The base's checkpoint directory.
        dtype: What the weights are rounded to and computed in: ``bfloat16``, ``float16`` or ``float32``.
        max_model_len: Longest conversation including the reply, in tokens.
        max_batch: Most conversations in one call of the model; larger batches are cut by length.
        date: Today, as far as the chat template is concerned.

    Raises:
        BaseModelInvalid: The checkpoint's parameters are not those of the model, or it computes no finite numbers.
    """

    name = "transformers"

    def __init__(
        self,
        base: Path,
        *,
        dtype: str = "bfloat16",
        max_model_len: int = 2048,
        max_batch: int = 64,
        date: datetime.date = TEMPLATE_DATE,
    ) -> None:
        self._weights = BaseWeights(base)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._max_model_len = max_model_len
        self._max_batch = max_batch
        self._device = torch_device()
        self._date = date
        self._tokenizer = load_tokenizer(base)
        self._ends = end_tokens(self._tokenizer, base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=self._dtype, trust_remote_code=False)
        self._model = model.to(self._device).eval()
        # What a request leaves open `generate` takes from here: a checkpoint's own repetition penalty, for example.
        self._model.generation_config = GenerationConfig()
        self._parameters = parameters_of(self._model, self._weights)
        self._loaded = "base"
        self._busy = 0.0
        self.prefill = 0.0
        self._lock = threading.Lock()
        self._exclusive = threading.Lock()
        prompt = self._tokenizer(CANARY_TEXT, add_special_tokens=False)["input_ids"][:CANARY_TOKENS]
        self._canary_prompt = torch.tensor([prompt], device=self._device)
        self._canary = Canary(finite(base, self._measure_canary()))

    @property
    def loaded(self) -> str:
        """The genome that is served; empty after a failed load."""
        return self._loaded

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """See `Engine.load`.

        Raises:
            ValueError: The task vector does not fit the base, or calls itself ``base``.
            WeightsNotLoaded: See `Engine.load`.
        """
        if genome == self._loaded:
            return
        refuse_other_base(genome, task_vector)
        merged = MergedWeights(self._weights, task_vector, self._dtype, self._device)
        with self._lock, torch.no_grad():
            self._loaded = ""  # should the load fail, nothing is known of the weights
            for name, tensor in merged:
                self._parameters[name].copy_(tensor)
            self._canary.check(genome, self._measure_canary(), merged)
            self._loaded = genome

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`.

        A conversation that leaves no room for ``max_new_tokens`` gets an empty reply that ended by ``length``.

        Raises:
            RuntimeError: The last load failed, or the engine is closed.
        """
        prompts = [
            render(self._tokenizer, request.messages, reply_follows=True, date=self._date) for request in requests
        ]
        return self._replies(prompts, requests)

    @property
    def tokenizer(self) -> Any:
        """See `TextEngine.tokenizer`."""
        return self._tokenizer

    @property
    def max_model_len(self) -> int:
        """See `TextEngine.max_model_len`."""
        return self._max_model_len

    def complete(self, requests: Sequence[TextRequest]) -> list[Reply]:
        """See `TextEngine.complete`; as for `chat`, a prompt that leaves no room gets an empty reply.

        Raises:
            RuntimeError: The last load failed, or the engine is closed.
        """
        return self._replies([list(request.prompt) for request in requests], requests)

    def log_likelihoods(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """See `TextEngine.log_likelihoods`.

        Raises:
            RuntimeError: The last load failed, or the engine is closed.
        """
        check_continuations(requests, self._max_model_len)
        with self._working():
            return log_likelihoods(self._model, requests, max_batch=self._max_batch)

    def _replies(self, prompts: Sequence[list[int]], requests: Sequence[ChatRequest | TextRequest]) -> list[Reply]:
        replies = [Reply("", len(prompt), 0, "length") for prompt in prompts]
        fitting = [
            index
            for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True))
            if len(prompt) + request.max_new_tokens <= self._max_model_len
        ]
        # Alike lengths together waste least on padding; a stable sort keeps the batch a function of the call.
        fitting.sort(key=lambda index: len(prompts[index]))
        with self._working():
            for first in range(0, len(fitting), self._max_batch):
                part = fitting[first : first + self._max_batch]
                texts = self._generate([prompts[index] for index in part], [requests[index] for index in part])
                for index, reply in zip(part, texts, strict=True):
                    replies[index] = reply
        return replies

    @contextmanager
    def _working(self) -> Iterator[None]:
        """While held, the model is this thread's, and the time counts as busy."""
        with self._lock:
            if self._model is None:
                raise RuntimeError("the engine is closed")
            if not self._loaded:
                raise RuntimeError("the last load failed: load weights before chatting")
            started = time.perf_counter()
            yield
            self._busy += time.perf_counter() - started

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`. Here every `chat` call is a batch of its own anyway."""
        with self._exclusive:
            yield

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`."""
        return self._busy

    def close(self) -> None:
        """See `Engine.close`; may be called more than once."""
        with self._lock:
            self._model = None
            self._parameters = {}
        gc.collect()

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], requests: Sequence[ChatRequest | TextRequest]) -> list[Reply]:
        width = max(map(len, prompts))
        padding = self._ends[0]
        ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        limits = [request.max_new_tokens for request in requests]
        settings = GenerationConfig(
            max_new_tokens=max(limits),
            do_sample=False,
            pad_token_id=padding,
            eos_token_id=list(self._ends),
        )
        inputs, shown = self._inputs(ids.to(self._device), requests)
        criterion = _RowsFinished(self._tokenizer, shown, requests)
        started = time.perf_counter()
        output = self._model.generate(
            **inputs,
            attention_mask=mask.to(self._device),
            generation_config=settings,
            stopping_criteria=[criterion],
        )
        if criterion.began is not None:
            self.prefill += criterion.began - started
        rows = output[:, shown:].tolist()
        return [
            self._reply(prompt, row, request) for prompt, row, request in zip(prompts, rows, requests, strict=True)
        ]

    def _inputs(self, ids: torch.Tensor, requests: Sequence[ChatRequest | TextRequest]) -> tuple[dict[str, Any], int]:
        """What the model is given of a batch, and how many columns of it `generate` gives back ahead of the reply."""
        return {"input_ids": ids}, ids.shape[1]

    def _reply(self, prompt: list[int], row: list[int], request: ChatRequest | TextRequest) -> Reply:
        """Cuts what the row went on with after its own end: the padding, or the stop string."""
        end = next((position for position, token in enumerate(row) if token in self._ends), None)
        tokens = row[: request.max_new_tokens] if end is None else row[:end]
        reason = "stop" if end is not None and end < request.max_new_tokens else "length"
        generated = len(tokens) + (reason == "stop")
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        if cuts := [text.find(stop) for stop in request.stop if stop in text]:
            return Reply(text[: min(cuts)], len(prompt), generated, "stop")
        return Reply(text, len(prompt), generated, reason)

    def _measure_canary(self) -> LogProbabilities:
        with torch.inference_mode():
            logits = self._model(self._canary_prompt).logits[0, :-1].float()
            chosen = logits.log_softmax(-1).gather(-1, self._canary_prompt[0, 1:, None])
        return np.asarray(chosen[:, 0].cpu().numpy(), dtype=np.float32)


class _RowsFinished(StoppingCriteria):  # type: ignore[misc] # transformers is untyped here
    """Ends a row at its own token limit or stop string, without waiting for the batch's longest."""

    def __init__(self, tokenizer: Any, width: int, requests: Sequence[ChatRequest | TextRequest]) -> None:
        self._tokenizer = tokenizer
        self._width = width
        self._requests = requests
        self._finished = [False] * len(requests)
        self.began: float | None = None
        """When the rows had their first tokens; None before."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        self.began = self.began or time.perf_counter()
        generated = input_ids[:, self._width :]
        for row, request in enumerate(self._requests):
            if self._finished[row]:
                continue
            window = generated[row, -(max(map(len, request.stop), default=0) + _STOP_WINDOW) :]
            text = self._tokenizer.decode(window) if request.stop else ""
            stopped = any(stop in text for stop in request.stop)
            self._finished[row] = stopped or generated.shape[1] >= request.max_new_tokens
        return torch.tensor(self._finished, device=input_ids.device)
