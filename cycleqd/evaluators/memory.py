"""Whether the engines of all evaluators fit into this machine, before any is started."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

from cycleqd.config import RunConfig
from cycleqd.models.hardware import CPU_CACHE_GB, with_dtype

_LIBRARIES_BYTES: Final = int(1.6 * 2**30)
"""Python, torch and vLLM in one process: what a worker with a model of a few kilobytes took."""
_ON_DISK: Final = 2
"""Bytes of a parameter in checkpoints, mostly."""


def lacking_memory(config: RunConfig, base: Path, gpus: int) -> str:
    """What is to be said where the evaluators' engines might not fit; empty where they do, or are elsewhere.

    Args:
        config: The run's settings.
        base: The base model's checkpoint directory.
        gpus: GPUs that this machine has.
    """
    settings, engine = config.evaluators, config.engine
    if settings.kind == "threads" or settings.address is not None:
        return ""
    if gpus:
        places = len(set(settings.devices)) or 1
        shared = -(-settings.count // places)
        if shared * engine.gpu_memory_fraction <= 1 or engine.kind == "transformers":
            return ""
        return (
            f"{settings.count} engines share {places} set(s) of GPUs, and each takes "
            f"{engine.gpu_memory_fraction:g} of the memory (engine.gpu_memory_fraction)"
        )
    weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    if with_dtype(config).model.dtype == "float32":
        weights *= 4 // _ON_DISK
    has_cache = engine.kind in ("auto", "vllm") and config.model.kind == "chat"
    cache = int((engine.kv_cache_gb or CPU_CACHE_GB) * 2**30) if has_cache else 0
    needed = settings.count * (weights + cache + _LIBRARIES_BYTES)
    available = psutil.virtual_memory().available
    if needed <= available:
        return ""
    return (
        f"{settings.count} engines need about {needed / 2**30:.1f} GiB of memory (each {weights / 2**30:.1f} for "
        f"weights, {cache / 2**30:.1f} for keys and values, {_LIBRARIES_BYTES / 2**30:.1f} for libraries), and "
        f"{available / 2**30:.1f} are free"
    )
