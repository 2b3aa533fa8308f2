"""Engines: what generates text with the base model plus one task vector.

An engine (see `cycleqd.models.causal_lm.protocol`) holds one set of weights at a time, swaps them in place, and proves
after each swap by the log-probabilities of a fixed prompt (the canary) that it serves the new ones. Two engines
exist: `VllmEngine` (continuous batching, prefix cache) and `TransformersEngine` (the fallback, which needs nothing
beyond what training needs). Decoding is greedy.

Public: `open_engine`, the protocol's `Engine`, `ChatRequest`, `Reply` and `WeightsNotLoaded`.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

from cycleqd.models.causal_lm.protocol import ChatRequest, Engine, Reply, WeightsNotLoaded
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE
from cycleqd.models.hardware import INSTALL_VLLM, has_vllm, resolve_kind

__all__ = ["ChatRequest", "Engine", "Reply", "WeightsNotLoaded", "open_engine"]


def open_engine(
    kind: Literal["auto", "vllm", "transformers"],
    base: Path,
    *,
    dtype: str = "bfloat16",
    max_model_len: int = 1024,
    kv_cache_gb: float = 2.0,
    gpu_memory_fraction: float = 0.85,
    seed: int = 0,
    date: datetime.date = TEMPLATE_DATE,
) -> Engine:
    """Starts an engine that serves the base.

    Args:
        kind: ``auto`` takes vLLM where it is installed, else transformers with a warning.
        base: The base's checkpoint directory.
        dtype: What weights are rounded to and computed in: ``bfloat16``, ``float16`` or ``float32``.
        max_model_len: Longest conversation including the reply, in tokens.
        kv_cache_gb: vLLM on a CPU: memory for cached keys and values, in GiB.
        gpu_memory_fraction: vLLM on a GPU: share of its memory to take, in (0, 1].
        seed: vLLM's seed; decoding is greedy.
        date: Today, as far as the chat template is concerned.

    Raises:
        ValueError: vLLM was asked for but is not installed, or the base cannot be served.
    """
    if kind == "vllm" and not has_vllm():
        raise ValueError(f"engine 'vllm' is not installed: {INSTALL_VLLM}, or choose 'transformers'")
    if resolve_kind(kind) == "vllm":
        from cycleqd.models.causal_lm.vllm import VllmEngine

        return VllmEngine(
            base,
            dtype=dtype,
            max_model_len=max_model_len,
            kv_cache_gb=kv_cache_gb,
            gpu_memory_fraction=gpu_memory_fraction,
            seed=seed,
            date=date,
        )
    from cycleqd.models.causal_lm.transformers import TransformersEngine

    return TransformersEngine(base, dtype=dtype, max_model_len=max_model_len, date=date)
