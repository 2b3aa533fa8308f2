"""Starts vLLM in this process and leaves the process as it was: its environment, threads and temporary files."""

from __future__ import annotations

import atexit
import gc
import inspect
import logging
import os
import shutil
from typing import Any, Final

import torch

from cycleqd.machine.owner import temporary_folder
from cycleqd.models.hardware import CPU_CACHE_GB

_BLOCK_SIZE: Final = 32
"""Tokens a cache block. Only full blocks are reused; the CPU kernels want multiples of 32."""

_ENVIRONMENT: Final = {
    # In process, or the weights could not be handed over as tensors.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # It would take all log handlers of the process down and wait for each to flush, under the lock of all logging.
    # Prefect's handler flushes through a thread that logs: where it was about to, both waited for ever.
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


def memory(kv_cache_gb: float | None, gpu_memory_fraction: float) -> dict[str, Any]:
    """What vLLM is told of its memory.

    Args:
        kv_cache_gb: Memory for cached keys and values in GiB. Unless given, `CPU_CACHE_GB` on a CPU; on a GPU vLLM
            measures what the rest leaves of its share.
        gpu_memory_fraction: On a GPU, the share of its memory, in (0, 1].
    """
    if not torch.cuda.is_available():
        return {"kv_cache_memory_bytes": int((kv_cache_gb or CPU_CACHE_GB) * 2**30), "block_size": _BLOCK_SIZE}
    told = {} if kv_cache_gb is None else {"kv_cache_memory_bytes": int(kv_cache_gb * 2**30)}
    return {"gpu_memory_utilization": gpu_memory_fraction, **told}


def _give_back_classes() -> None:
    """Lets this process build models of classes that vLLM has changed.

    It serves some families (GPT-NeoX) through transformers' own classes, and puts an `__init__` into them that wants
    its configuration (0.32): nobody else could build such a model any more, to train one or to measure its inputs.
    """
    from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper
    from vllm.config import get_current_vllm_config_or_none

    for changed in TorchCompileWithNoGuardsWrapper.__subclasses__():
        theirs = changed.__init__
        own = inspect.getclosurevars(theirs).nonlocals.get("old_init") if inspect.isfunction(theirs) else None
        if own is None or not changed.__module__.startswith("transformers."):
            continue

        def build(model: Any, *given: Any, theirs: Any = theirs, own: Any = own, **more: Any) -> None:
            (own if get_current_vllm_config_or_none() is None else theirs)(model, *given, **more)

        changed.__init__ = build  # as vLLM did
        changed.do_not_compile = True  # of models that are built without vLLM; its own have an attribute of their own


def start_vllm(**arguments: Any) -> Any:
    """Starts a `vllm.LLM` in this process, with prefix caching and without the model's own sampling defaults.

    Args:
        arguments: For `vllm.LLM`.

    Raises:
        ValueError: vLLM refuses the model.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    # A process that has imported vLLM looked through all its objects at its end: ten seconds on a busy machine.
    atexit.register(gc.freeze)
    preload = os.environ.get("LD_PRELOAD")
    set_num_threads = torch.set_num_threads
    folder = temporary_folder()
    try:
        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
        from vllm import LLM
        from vllm.v1.executor import uniproc_executor

        # Otherwise the file where the only rank meets itself would lie among everybody's, and stay when we are killed.
        everybodys = uniproc_executor.get_file_store_init_method
        uniproc_executor.get_file_store_init_method = lambda: f"file://{folder}/rendezvous"
        try:
            llm = LLM(
                **arguments,
                disable_log_stats=True,
                enable_prefix_caching=True,
                use_tqdm_on_load=False,
                generation_config="vllm",  # the model's sampling defaults must not leak into greedy decoding
            )
            _give_back_classes()
            return llm
        finally:
            uniproc_executor.get_file_store_init_method = everybodys
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # vLLM's CPU build makes it do nothing, for the sake of a thread binding that only its worker processes have.
        torch.set_num_threads = set_num_threads
        # It also preloads libraries into its worker processes; ours (docker, bash) must not inherit that.
        if preload is None:
            os.environ.pop("LD_PRELOAD", None)
        else:
            os.environ["LD_PRELOAD"] = preload
