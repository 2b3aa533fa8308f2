"""Engines: what generates text with the base model plus one task vector.

An engine (see `cycleqd.models.causal_lm.protocol`) holds one set of weights at a time, swaps them in place, and proves
after each swap by the log-probabilities of a fixed prompt (the canary) that it serves the new ones. Three engines
exist: `VllmEngine` (continuous batching, prefix cache), `TransformersEngine` (the fallback, which needs nothing
beyond what training needs), and `ServerEngine` (vLLM servers that run already). Decoding is greedy.

Public: `open_engine`, the protocol's `Engine`, `ChatRequest`, `Reply` and `WeightsNotLoaded`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cycleqd.models.causal_lm.protocol import ChatRequest, Engine, Reply, WeightsNotLoaded
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE
from cycleqd.models.hardware import INSTALL_VLLM, NO_MIXTURES, EngineKind, has_vllm, is_mixture, resolve_kind

__all__ = ["ChatRequest", "Engine", "Reply", "WeightsNotLoaded", "open_engine"]


def open_engine(
    kind: EngineKind,
    base: Path,
    *,
    dtype: str = "bfloat16",
    max_model_len: int = 1024,
    kv_cache_gb: float | None = None,
    gpu_memory_fraction: float = 0.85,
    max_batch: int = 128,
    compile_model: bool | None = None,
    extra: Mapping[str, Any] | None = None,
    urls: Sequence[str] = (),
    adapters: Path | None = None,
    seed: int = 0,
    date: datetime.date = TEMPLATE_DATE,
) -> Engine:
    """Starts an engine that serves the base.

    Args:
        kind: ``auto`` takes vLLM where it is installed, else transformers with a warning; transformers for a mixture
            of experts.
        base: The base's checkpoint directory.
        dtype: What weights are rounded to and computed in: ``bfloat16``, ``float16`` or ``float32``.
        max_model_len: Longest conversation including the reply, in tokens.
        kv_cache_gb: vLLM: memory for cached keys and values in GiB; see `EngineConfig`.
        gpu_memory_fraction: vLLM on a GPU: share of its memory to take, in (0, 1].
        max_batch: vLLM and servers: most conversations that generate at a time.
        compile_model: vLLM: whether it compiles the model; None is on a GPU only.
        extra: vLLM: further arguments, as they are.
        urls: Servers: where they are.
        adapters: Servers: folder that they see under the same path.
        seed: vLLM's seed; decoding is greedy.
        date: Today, as far as the chat template is concerned.

    Raises:
        ValueError: vLLM was asked for but is not installed, or the base is a mixture or cannot be served.
        EndpointUnavailable: A server is down or not fit; see `ServerEngine`.
    """
    if kind == "server":
        from cycleqd.models.causal_lm.server import ServerEngine

        return ServerEngine(
            base, urls, adapters=adapters, max_model_len=max_model_len, concurrency=max_batch, date=date
        )
    if kind == "vllm" and not has_vllm():
        raise ValueError(f"engine 'vllm' is not installed: {INSTALL_VLLM}, or choose 'transformers'")
    if kind == "vllm" and is_mixture(base):
        raise ValueError(f"{NO_MIXTURES}: choose 'transformers'")
    if resolve_kind(kind, base) == "vllm":
        from cycleqd.models.causal_lm.vllm import VllmEngine

        return VllmEngine(
            base,
            dtype=dtype,
            max_model_len=max_model_len,
            kv_cache_gb=kv_cache_gb,
            gpu_memory_fraction=gpu_memory_fraction,
            seed=seed,
            max_batch=max_batch,
            compile_model=compile_model,
            extra=extra,
            date=date,
        )
    from cycleqd.models.causal_lm.transformers import TransformersEngine

    return TransformersEngine(base, dtype=dtype, max_model_len=max_model_len, date=date)
