"""What ``auto`` means on this machine: the type of numbers that it computes in, and the engine that serves."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from cycleqd.config import RunConfig

if TYPE_CHECKING:
    import torch

EngineKind = Literal["auto", "vllm", "transformers", "server"]
INSTALL_VLLM = "pip install 'cycleqd[cpu]' (or 'cycleqd[gpu]' with a GPU)"

CPU_CACHE_GB: Final = 2.0
"""GiB of keys and values that an engine on a CPU keeps unless told otherwise."""
NO_MIXTURES: Final = (
    "vLLM packs the experts of a mixture when it loads them, and swapping their weights in place was not tried"
)
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Settings that count the experts of a layer, as families call them."""

log = logging.getLogger(__name__)

_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Of ``/proc/cpuinfo``: AMD and Intel servers, Intel servers with AMX, ARM."""


def with_dtype(config: RunConfig) -> RunConfig:
    """The configuration with ``model.dtype: auto`` replaced by what this machine computes in fastest."""
    if config.model.dtype != "auto":
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": native_dtype()})})


def pinned(config: RunConfig) -> RunConfig:
    """The configuration with every ``auto`` replaced by what it means here; a run keeps what it began with."""
    config = with_dtype(config)
    # A SAM computes in plain transformers, whatever is installed.
    segments = config.model.kind == "segmentation"
    kind = "transformers" if segments else resolve_kind(config.engine.kind, Path(config.model.name).expanduser())
    return config.model_copy(update={"engine": config.engine.model_copy(update={"kind": kind})})


def resolve_kind(kind: EngineKind, base: Path | None = None) -> Literal["vllm", "transformers", "server"]:
    """The engine that ``auto`` means: vLLM where it is installed, else transformers with a warning.

    Args:
        kind: What the configuration says.
        base: The base's folder; for a mixture of experts ``auto`` is transformers.
    """
    if kind != "auto":
        return kind
    if base is not None and is_mixture(base):
        log.info("%s: using transformers", NO_MIXTURES)
        return "transformers"
    if has_vllm():
        return "vllm"
    log.warning("vLLM is not installed: using transformers, several times slower. For vLLM: %s", INSTALL_VLLM)
    return "transformers"


def is_mixture(folder: Path) -> bool:
    """Whether a folder holds a mixture of experts, by its ``config.json``; False where there is none to read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict):
        return False
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    return any(part.get(key) not in (None, 0, 1) for part in parts for key in _EXPERTS)


def has_vllm() -> bool:
    """Whether vLLM is installed."""
    return find_spec("vllm") is not None


def gpu_count() -> int:
    """GPUs that this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def torch_device() -> torch.device:
    """Where this process trains and generates: its first GPU, or the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_unused_memory() -> None:
    """Gives memory back that nothing holds any more; a GPU's, too, which torch would keep for this process alone.

    GNU's C library keeps what was freed between pieces that are in use. After a training of a model of 135M
    parameters that was 1.1 of the process' 1.75 GB.
    """
    import torch

    gc.collect()
    with suppress(AttributeError, OSError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def native_dtype() -> Literal["bfloat16", "float32"]:
    """``bfloat16`` where the GPU, or without one the CPU, has instructions for it; otherwise ``float32``.

    A CPU without them emulates bf16: training and generation were both about three times slower than in fp32 on an
    Intel Xeon with AVX-512 but without AVX512_BF16.
    """
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _cpu_flags() & _CPU_FLAGS else "float32"


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the first processor can do; empty where the system does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return set()
    wanted = (line.partition(":") for line in lines)
    return next((set(text.split()) for name, _, text in wanted if name.strip() in {"flags", "Features"}), set())
