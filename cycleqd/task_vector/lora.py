"""Task vectors to and from LoRA adapters in peft's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cycleqd.task_vector.adapter_files import PREFIX, scale_of, sort_names
from cycleqd.task_vector.bases import LoraFactors
from cycleqd.task_vector.factored import FactoredTaskVector
from cycleqd.task_vector.files import TensorFile, write_tensors
from cycleqd.task_vector.threads import one_thread

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
# Options of peft under which the update is still scale · B A of whole linear layers, whatever their value.
# Every other one must be off: some options change what the tensors mean and add none that would tell.
HARMLESS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
_OFF: Mapping[str, object] = {"bias": "none"}
# What A and B begin with. Others (pissa, olora, corda, loftq, ...) begin by changing the base's own weights.
# MiCA takes directions from the base and leaves it as it is.
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal", "mica", None)


def to_lora(vector: FactoredTaskVector) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The task vector as factors of rank R = min(R_P, R_Q), with B A the delta.

    With C = U diag(σ) Vᵀ, B = P U diag(√σ) and A = diag(√σ) Vᵀ Qᵀ: equal scales on both sides lose least when an
    engine rounds them to bf16.

    Returns:
        Per parameter name (A (R, n), B (m, R)), fp32.

    Raises:
        ValueError: The vector carries Gaussian noise, which has full rank.
    """
    _refuse_noise(vector)
    return {name: _factors(vector, name) for name in vector.names()}


def _refuse_noise(vector: FactoredTaskVector) -> None:
    if vector.noise:
        raise ValueError("a task vector with Gaussian noise has full rank and is no LoRA adapter; export the weights")


def _factors(vector: FactoredTaskVector, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    with one_thread():
        u, sigma, vh = torch.linalg.svd(vector.core(name), full_matrices=False)
        root = sigma.sqrt()
        a = root.unsqueeze(1) * (vh @ vector.bases.right(name).T)
        b = vector.bases.left(name) @ (u * root)
    return a, b


def save_lora_adapter(
    vector: FactoredTaskVector, base_name_or_path: str, out_dir: Path, *, base: str | None = None
) -> None:
    """Writes an adapter directory that peft and vLLM load.

    All modules get one rank, the largest, filled up with zeros: engines take padding more willingly than
    per-module ranks.

    Args:
        vector: A task vector over weights of linear layers.
        base_name_or_path: The base model, as noted in the adapter's configuration, for others to find.
        out_dir: The directory, created where missing.
        base: The base model's name here, where that is another one; what `adapter_base` gives back.

    Raises:
        ValueError: The vector carries noise, is empty, or covers a parameter that is no layer's ``weight``.
    """
    from peft import LoraConfig  # takes four seconds, which a cancelled flow run would spend again to be cancelled

    _refuse_noise(vector)
    if not vector.names():
        raise ValueError("the task vector covers no parameters; there is no adapter to write")
    rank = max(min(vector.bases.core_shape(name)) for name in vector.names())
    shapes: dict[str, tuple[int, ...]] = {}
    of: dict[str, tuple[str, int]] = {}
    modules = []
    for name in vector.names():
        module = name.removesuffix(".weight")
        if module == name:
            raise ValueError(f"{name} is not the weight of a linear layer; LoRA has no place for it")
        modules.append(module)
        m, n = vector.shape(name)
        for side, (key, shape) in enumerate((("lora_A", (rank, n)), ("lora_B", (m, rank)))):
            shapes[f"{PREFIX}{module}.{key}.weight"] = shape
            of[f"{PREFIX}{module}.{key}.weight"] = name, side
    out_dir.mkdir(parents=True, exist_ok=True)
    metadata = {"form": "adapter"} | ({"base": base} if base else {})
    write_tensors(out_dir / _WEIGHTS, shapes, lambda key: _padded(vector, *of[key], rank), metadata)
    # lora_alpha = r makes peft's scale 1.
    LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=modules,
        base_model_name_or_path=base_name_or_path,
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(str(out_dir))


def _padded(vector: FactoredTaskVector, name: str, side: int, rank: int) -> torch.Tensor:
    """A (side 0) or B (side 1) with zeros up to the rank; each side takes its own SVD of the small core."""
    factor = _factors(vector, name)[side]
    padding = rank - factor.shape[side]
    return torch.nn.functional.pad(factor, (0, padding) if side else (0, 0, 0, padding))


def adapter_base(directory: Path) -> str:
    """The name or path of an adapter's base model, for `cycleqd.base_model.resolve_base`.

    Args:
        directory: What peft or `save_lora_adapter` wrote.
    """
    weights = directory / _WEIGHTS
    own = TensorFile(weights).metadata.get("base") if weights.is_file() else None
    return str(own or json.loads((directory / _CONFIG).read_text())["base_model_name_or_path"])


def start_of(config: Mapping[str, Any]) -> Any:
    """``init_lora_weights``; peft takes its names in capitals, too."""
    start = config.get("init_lora_weights")
    return start.lower() if isinstance(start, str) else start


def refuse_other_forms(directory: Path, config: Mapping[str, Any]) -> None:
    """Looks at an adapter's configuration, as far as `read_lora_adapter` reads it.

    Raises:
        ValueError: It is more than scale · B A on linear layers, or it changed the base's weights.
    """
    if config.get("peft_type", "LORA") != "LORA":
        raise ValueError(f"{directory}: peft_type={config['peft_type']!r} is not supported, train a LORA adapter")
    if start_of(config) not in PLAIN_STARTS:
        raise ValueError(
            f"{directory}: init_lora_weights={config['init_lora_weights']!r} is not supported: it changes the base's "
            "weights before training; convert the adapter to plain LoRA with peft, or train with True"
        )
    for option, value in config.items():
        if option not in HARMLESS | {"init_lora_weights"} and value and value != _OFF.get(option):
            raise ValueError(f"{directory}: {option}={value!r:.60} is not supported, train without it")


def read_lora_adapter(directory: Path) -> dict[str, LoraFactors]:
    """Reads the factors of a LoRA adapter that peft saved, for `build_bases`.

    Ranks and scales may differ between modules. `cycleqd.experts.sources` reads adapters that are more than this;
    it needs the base model.

    Args:
        directory: Holds ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns:
        Per parameter name of the base, the factors.

    Raises:
        ValueError: The adapter is more than scale · B A on linear layers.
    """
    config = json.loads((directory / _CONFIG).read_text())
    refuse_other_forms(directory, config)
    file = TensorFile(directory / _WEIGHTS)
    modules, whole = sort_names(file.names())
    pairs = {module: keys for module, keys in modules.items() if keys.keys() == {"lora_A", "lora_B"}}
    others = [key for module, keys in modules.items() if module not in pairs for key in keys.values()]
    if remaining := sorted([*whole.values(), *others]):
        raise ValueError(f"{directory}: tensors that are no LoRA factors of linear layers: {remaining[:5]}")
    factors = {}
    for module, keys in pairs.items():
        a, b = file.tensor(keys["lora_A"]), file.tensor(keys["lora_B"])
        factors[f"{module}.weight"] = LoraFactors(a, b, scale_of(config, module, a.shape[0]))
    return factors
