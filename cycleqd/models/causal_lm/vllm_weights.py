"""The weights of a vLLM in this process: how they are replaced, how they make room."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch

_has_slept = False


def swap_weights(llm: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Replaces the weights of a `vllm.LLM` that generates nothing at the moment.

    Args:
        llm: It.
        weights: Every parameter once, by the names of the checkpoint that it started from.

    Raises:
        RuntimeError: Keys and values of the previous weights would be used.
    """
    llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
    llm.apply_model(_repack_tied_head)
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM did not reset its prefix cache: keys of the previous weights would be used")


def sleep_mode() -> bool:
    """Whether the engine that starts now is to be one that can sleep: the first one of a process with a GPU.

    vLLM has one allocator for such engines in a process, which serves one engine.
    """
    global _has_slept
    first, _has_slept = torch.cuda.is_available() and not _has_slept, True
    return first


def sleep(llm: Any) -> None:
    """Frees a GPU's memory until `wake_up`; what was loaded is gone.

    Closing would not: compiled code refers to the tensors of a closed engine, so that they stay. At Llama-3-8B's
    shapes they were 42 GiB, and those of the next engine came on top (vLLM 0.26).
    """
    # After it has slept it says that memory grew where another process took some at the same time.
    with suppress(AssertionError):
        llm.sleep(level=2)


def shut_down(llm: Any) -> None:
    """Ends a `vllm.LLM`, and lets go of what vLLM keeps of it in its process.

    vLLM remembers every layer whose weights were replaced in a dictionary with weak keys, and the values hold the
    keys (0.32): each engine of a process left 0.4 GB of a model of 135M parameters behind.
    """
    with suppress(Exception):  # an engine that failed is ended all the same
        llm.apply_model(_forget_layers)
    llm.llm_engine.engine_core.shutdown()


def _forget_layers(model: Any) -> None:
    with suppress(ImportError, AttributeError):
        from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO

        for layer in model.modules():
            LAYERWISE_INFO.pop(layer, None)


def _repack_tied_head(model: Any) -> None:
    """Makes an output head that shares the embedding's weight follow it.

    vLLM's CPU kernels compute with a packed copy of the head, which `reload_weights` renews only for layers that
    the checkpoint names (0.32); a tied head would stay the base's.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and getattr(model.config, "tie_word_embeddings", False):
        head.quant_method.process_weights_after_loading(head)
