"""vLLM in this process: continuous batching, prefix caching, weights swapped in place."""

from __future__ import annotations

import datetime
import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cycleqd.base_model import BaseWeights
from cycleqd.models.causal_lm.canary import CANARY_TEXT, CANARY_TOKENS, Canary, LogProbabilities, finite
from cycleqd.models.causal_lm.commands import Command
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
from cycleqd.models.causal_lm.vllm_start import memory, start_vllm
from cycleqd.models.causal_lm.vllm_weights import shut_down, sleep, sleep_mode, swap_weights
from cycleqd.models.hardware import torch_device
from cycleqd.task_vector import TaskVector

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batch:
    """The requests of one `chat` call; its future gives the replies."""

    prompts: list[list[int]]
    requests: Sequence[ChatRequest | TextRequest]
    replies: list[Reply | None]
    alone: bool
    future: Future[list[Reply]] = field(default_factory=Future)


class VllmEngine:
    """An `Engine` on vLLM.

    One thread owns vLLM: OpenMP keeps a pool of workers for each calling thread, and vLLM is not thread-safe.
    `chat` calls of other threads join its running batch; loads and exclusive batches wait until it is empty.

    Args:
        base: The base's checkpoint directory.
        dtype: What the weights are rounded to and computed in: ``bfloat16``, ``float16`` or ``float32``.
        max_model_len: Longest conversation including the reply, in tokens.
        kv_cache_gb: Memory for cached keys and values in GiB; see `memory`. On overflow, prefixes are computed again.
        gpu_memory_fraction: On a GPU, the share of its memory that vLLM takes, in (0, 1].
        seed: vLLM's seed. Decoding is greedy, so it changes nothing but vLLM's start.
        max_batch: Most conversations that generate at once.
        compile_model: Compile the model, and on a GPU capture CUDA graphs. None does so on a GPU only: on a CPU it
            gave some 15 % more tokens a second for a minute more at the first start.
        extra: Further arguments for vLLM, as they are.
        date: Today, as far as the chat template is concerned.

    Raises:
        BaseModelInvalid: The model computes no finite numbers.
        ValueError: vLLM refuses the model, or the tokenizer has no chat template.
    """

    name = "vllm"

    def __init__(
        self,
        base: Path,
        *,
        dtype: str = "bfloat16",
        max_model_len: int = 2048,
        kv_cache_gb: float | None = None,
        gpu_memory_fraction: float = 0.85,
        seed: int = 0,
        max_batch: int = 128,
        compile_model: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        date: datetime.date = TEMPLATE_DATE,
    ) -> None:
        self._weights, self._date = BaseWeights(base), date
        self._dtype: torch.dtype = getattr(torch, dtype)
        self.max_model_len, self._loaded = max_model_len, "base"
        self._busy = self.prefill = 0.0
        self._unanswered: set[str] = set()
        self._running: dict[str, tuple[_Batch, int]] = {}
        self._submitted = self._cached_tokens = 0
        self._inbox: queue.SimpleQueue[_Batch | Command] = queue.SimpleQueue()
        self._exclusive = threading.Lock()
        self._exclusive_owner: int | None = None
        self._closed = self._stopped = self._stuck = False
        self._can_sleep, self._asleep = sleep_mode(), False
        self._thread = threading.Thread(target=self._serve, name="vllm", daemon=True)
        self._thread.start()

        def start() -> None:
            self._llm = start_vllm(
                model=str(base),
                trust_remote_code=False,
                dtype=dtype,
                max_model_len=max_model_len,
                max_num_seqs=max_batch,
                max_num_batched_tokens=max(2048, max_model_len),
                **memory(kv_cache_gb, gpu_memory_fraction),
                enable_sleep_mode=self._can_sleep,
                enforce_eager=not (torch.cuda.is_available() if compile_model is None else compile_model),
                seed=seed,
                **(extra or {}),
            )
            self.tokenizer = load_tokenizer(base)
            self._ends = end_tokens(self.tokenizer, base)
            cache = self._llm.llm_engine.vllm_config.cache_config
            self._capacity = cache.num_gpu_blocks * cache.block_size
            self._canary_prompt = self.tokenizer(CANARY_TEXT, add_special_tokens=False)["input_ids"][:CANARY_TOKENS]
            self._canary = Canary(finite(base, self._measure_canary()))

        try:
            self._run(start)
        except BaseException:
            self.close()
            raise

    @property
    def loaded(self) -> str:
        """The genome that is served; empty after a failed load."""
        return self._loaded

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """See `Engine.load`. Waits until running replies are finished.

        Raises:
            ValueError: The task vector does not fit the base, or calls itself ``base``.
            WeightsNotLoaded: See `Engine.load`.
        """
        if genome == self._loaded:
            return
        refuse_other_base(genome, task_vector)
        merged = MergedWeights(self._weights, task_vector, self._dtype, torch_device())

        def swap() -> None:
            self._loaded = ""  # should the load fail, nothing is known of the weights
            if self._asleep:
                self._llm.wake_up()
                self._asleep = False
            swap_weights(self._llm, merged)
            self._cached_tokens = 0
            self._canary.check(genome, self._measure_canary(), merged)
            self._loaded = genome

        self._run(swap)

    def sleep(self) -> bool:
        """See `put_to_sleep`. Waits until running replies are finished."""

        def action() -> None:
            self._loaded, self._asleep = "", True
            sleep(self._llm)

        if self._can_sleep:
            self._run(action)
        return self._can_sleep

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`.

        A conversation that leaves no room for ``max_new_tokens`` gets an empty reply that ended by ``length``.

        Raises:
            RuntimeError: The last load failed, or the engine is closed.
        """
        prompts = [
            render(self.tokenizer, request.messages, reply_follows=True, date=self._date) for request in requests
        ]
        return self._replies(prompts, requests)

    def complete(self, requests: Sequence[TextRequest]) -> list[Reply]:
        """See `TextEngine.complete`; raises as `chat`."""
        return self._replies([list(request.prompt) for request in requests], requests)

    def log_likelihoods(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """See `TextEngine.log_likelihoods`; raises as `chat`, too. Waits until running replies are finished."""
        self._check_ready()
        check_continuations(requests, self.max_model_len)
        found: list[Likelihood] = []

        def measure() -> None:
            started = time.perf_counter()
            prompts = [[*request.context, *request.tokens] for request in requests]
            for request, chosen in zip(requests, self._prompt_log_probabilities(prompts), strict=True):
                last = chosen[-len(request.tokens) :]
                found.append(Likelihood(sum(one.logprob for one in last), all(one.rank == 1 for one in last)))
            self._busy += time.perf_counter() - started

        self._run(measure)
        return found

    def _replies(self, prompts: list[list[int]], requests: Sequence[ChatRequest | TextRequest]) -> list[Reply]:
        self._check_ready()
        batch = _Batch(prompts, requests, [None] * len(prompts), self._exclusive_owner == threading.get_ident())
        self._inbox.put(batch)
        return batch.future.result()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`. A batch of its own is generated with nothing else in the engine.

        What a scope finds in the prefix cache then depends on the scope's own batches since the last load,
        as long as the cache did not overflow in between; when it did, a warning says so.
        """
        with self._exclusive:
            self._exclusive_owner = threading.get_ident()
            try:
                yield
            finally:
                self._exclusive_owner = None

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`."""
        return self._busy

    def close(self) -> None:
        """See `Engine.close`. Finishes what was submitted; may be called more than once.

        A start or a load that was interrupted and does not end is not waited for; it ends with the process.
        """
        if self._closed:
            return
        if self._stuck:
            _log.warning("vLLM did not end in time; it ends with this process")
            self._closed = True
            return
        self._run(self._shut_down)
        self._closed = True
        self._thread.join()

    # The rest runs in the engine's thread, but for `_run`, `_check_open` and `_check_ready`.

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")

    def _check_ready(self) -> None:
        self._check_open()
        if not self._loaded:
            raise RuntimeError("the last load failed: load weights before chatting")

    def _run(self, action: Callable[[], None]) -> None:
        self._check_open()
        command = Command(action)
        self._inbox.put(command)
        try:
            command.wait()
        finally:
            self._stuck = not command.ended

    def _serve(self) -> None:
        """Admits what arrives into the running batch, and steps it; runs commands when it is empty."""
        waiting: _Batch | Command | None = None
        while not self._stopped:
            while waiting is None:
                try:
                    item = self._inbox.get(block=not self._running)
                except queue.Empty:
                    break
                if isinstance(item, _Batch) and not item.alone:
                    self._guarded(item, self._admit)
                else:
                    waiting = item
            if self._running:
                self._step()
                continue
            if isinstance(waiting, Command):
                waiting.run()
            elif waiting is not None:
                self._guarded(waiting, self._generate_alone)
            waiting = None

    def _guarded(self, batch: _Batch, action: Callable[[_Batch], None]) -> None:
        try:
            action(batch)
        except Exception as error:
            self._forget(batch)
            batch.future.set_exception(error)

    def _forget(self, batch: _Batch) -> None:
        ids = [key for key, (owner, _) in self._running.items() if owner is batch]
        for key in ids:
            del self._running[key]
        self._llm.llm_engine.abort_request(ids)

    def _generate_alone(self, batch: _Batch) -> None:
        self._admit(batch)
        while self._running:
            self._step()
        if self._cached_tokens > self._capacity:
            _log.warning(
                "the key-value cache (%d tokens) overflowed: replies may depend on the order of exclusive batches; "
                "raise kv_cache_gb",
                self._capacity,
            )
            self._cached_tokens = 0

    def _admit(self, batch: _Batch) -> None:
        from vllm import SamplingParams

        for position, (prompt, request) in enumerate(zip(batch.prompts, batch.requests, strict=True)):
            if len(prompt) + request.max_new_tokens > self.max_model_len:
                batch.replies[position] = Reply("", len(prompt), 0, "length")
                continue
            parameters = SamplingParams(
                temperature=0.0,
                max_tokens=request.max_new_tokens,
                stop=list(request.stop) or None,
                stop_token_ids=list(self._ends),
            )
            text_prompt: dict[str, Any] = {"prompt_token_ids": prompt}
            if request.scope:
                text_prompt["cache_salt"] = request.scope
            key = str(self._submitted)
            self._submitted += 1
            self._llm.llm_engine.add_request(key, text_prompt, parameters)
            self._running[key] = (batch, position)
            self._unanswered.add(key)
        self._finish_if_complete(batch)

    def _step(self) -> None:
        started = time.perf_counter()
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:
            for batch in {id(batch): batch for batch, _ in self._running.values()}.values():
                batch.future.set_exception(error)
            self._running.clear()
            return
        finally:
            seconds = time.perf_counter() - started
            self._busy += seconds
            self._unanswered &= self._running.keys()
            self.prefill += seconds if self._unanswered else 0.0
        for output in outputs:
            self._unanswered.discard(output.request_id)
            if not output.finished:
                continue
            batch, position = self._running.pop(output.request_id)
            completion = output.outputs[0]
            self._cached_tokens += len(output.prompt_token_ids) + len(completion.token_ids)
            batch.replies[position] = Reply(
                completion.text,
                len(output.prompt_token_ids),
                len(completion.token_ids),
                "length" if completion.finish_reason == "length" else "stop",
            )
            self._finish_if_complete(batch)

    def _finish_if_complete(self, batch: _Batch) -> None:
        replies = [reply for reply in batch.replies if reply is not None]
        if len(replies) == len(batch.replies):
            batch.future.set_result(replies)

    def _measure_canary(self) -> LogProbabilities:
        [chosen] = self._prompt_log_probabilities([self._canary_prompt], cache_salt="canary")
        return np.array([one.logprob for one in chosen], dtype=np.float32)

    def _prompt_log_probabilities(self, prompts: Sequence[list[int]], **options: Any) -> list[list[Any]]:
        """The `Logprob` that vLLM gives for each token of each prompt but the first."""
        from vllm import SamplingParams

        parameters = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1)
        outputs = self._llm.generate(
            [{"prompt_token_ids": prompt, **options} for prompt in prompts], parameters, use_tqdm=False
        )
        return [
            [entry[token] for entry, token in zip(output.prompt_logprobs[1:], prompt[1:], strict=True)]
            for output, prompt in zip(outputs, prompts, strict=True)
        ]

    def _shut_down(self) -> None:
        self._stopped = True
        if hasattr(self, "_llm"):
            shut_down(self._llm)
            del self._llm
        gc.collect()
