"""Takes an individual home: a checkpoint that plain `transformers` loads, or a LoRA adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.steps import task_vector
from cycleqd.store import RunStore
from cycleqd.task_vector import FactoredTaskVector, merged_weights, save_lora_adapter
from cycleqd.workspace import cache_dir

Format = Literal["checkpoint", "adapter"]

_SHARD_BYTES = 4 * 2**30


def export_individual(store: RunStore, identifier: str, out: Path, *, format: Format = "checkpoint") -> None:
    """Writes an individual as a Hugging Face directory.

    Args:
        store: The run.
        identifier: The individual's id, e.g. ``aggregate``, ``g0012``, ``expert-os``.
        out: The directory, created where missing.
        format: ``checkpoint`` writes the whole model in the base's dtype, with its tokenizer; ``adapter`` a LoRA
            adapter for peft or vLLM, where the run's experts are LoRA ones.

    Raises:
        StoreError: There is no such individual.
        ValueError: The individual is no LoRA adapter.
    """
    config = store.config()
    vector = task_vector(store, identifier)
    base = resolve_base(config.model.name, cache_dir())
    out.mkdir(parents=True, exist_ok=True)
    if format == "adapter":
        if not isinstance(vector, FactoredTaskVector):
            raise ValueError(
                f"{identifier} comes from fully fine-tuned experts and is no adapter; export a checkpoint"
            )
        save_lora_adapter(vector, config.model.name, out)
        return
    for file in base.iterdir():
        if file.is_file() and ".safetensors" not in file.name:
            shutil.copy2(file, out / file.name)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(_shards(merged_weights(BaseWeights(base), vector)), start=1):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, out / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, name)
    if len(set(weight_map.values())) == 1:
        (out / "model-00001.safetensors").rename(out / "model.safetensors")
    else:
        index = {"metadata": {}, "weight_map": weight_map}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def _shards(weights: Iterator[tuple[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    shard: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
        if size >= _SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard
