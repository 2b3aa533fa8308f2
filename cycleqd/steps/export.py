"""Takes an individual home: a checkpoint that plain `transformers` loads, or a LoRA adapter.

Public: `export_individual` writes anyone to a folder of one's own; `export_final` keeps the final model in the run.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import torch

from cycleqd.base_model import BaseWeights, public_name
from cycleqd.evaluation.resources import find_base
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.models.hardware import with_dtype
from cycleqd.packed_models import PACKED
from cycleqd.publishing import write_card
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import EXPORT_KEY, final_key
from cycleqd.run.records import ExportRecord
from cycleqd.run.store import RunStore
from cycleqd.task_vector import FactoredTaskVector, TaskVector, save_lora_adapter
from cycleqd.task_vector.files import write_shard

log = logging.getLogger(__name__)

Format = Literal["checkpoint", "adapter"]

_CONFIG = "config.json"
_SHARD_BYTES = 4 * 2**30
_TEMPLATES = "additional_chat_templates"
"""Folder of a tokenizer's further chat templates, as transformers names it."""
_MODE = 0o644
"""Of exported files. safetensors makes them for their owner alone, and a base may have come from a private folder."""

# What may lie beside a base's weights and says how to use the model. All else stays behind: weights in other formats,
# what a trainer left (optimizer.pt, trainer_state.json, training_args.bin), adapters, logs, figures, code, and the
# base's model card, which tells of another model.
_BELONGS = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".vocab", ".bpe", ".codes", ".spm"})
_LICENCES = ("license", "licence", "notice", "copying", "use_policy", "acceptable_use")
_OTHERS = frozenset(
    {
        *(_CONFIG, "params.json"),
        *("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"),
        *("adapter_config.json", "requirements.txt"),
    }
)


def formats_of(vector: TaskVector) -> tuple[Format, ...]:
    """The formats that an individual exists in.

    No adapter is what comes from fully fine-tuned experts, and what carries Gaussian noise, which has full rank.
    """
    is_adapter = isinstance(vector, FactoredTaskVector) and not vector.noise
    return ("checkpoint", "adapter") if is_adapter else ("checkpoint",)


def export_final(store: RunStore, identifier: str) -> None:
    """Writes the final model to ``aggregate/``, in all formats that it exists in, unless it is there already.

    The record of it, ``aggregate/export.json``, goes first and comes last: where it is, the folders are whole.

    Args:
        store: A run whose lease this process holds.
        identifier: The final model's id.
    """
    genome = store.individual(identifier).genome
    if store.has_exported(genome):
        return
    formats = formats_of(task_vector(store, identifier))
    store.remove(EXPORT_KEY)
    for name in get_args(Format):
        if name not in formats:
            log.info("run %s: %s is no LoRA adapter, only its checkpoint is exported", store.run_id, identifier)
            store.remove(final_key(name))  # of an earlier final model that was one
            continue
        with store.writing(final_key(name), replace=True) as out:
            export_individual(store, identifier, out, format=name)
    store.write_export(ExportRecord(individual=identifier, genome=genome, formats=list(formats)))


def export_individual(store: RunStore, identifier: str, out: Path, *, format: Format = "checkpoint") -> None:
    """Writes an individual as a Hugging Face directory, with its model card.

    Args:
        store: The run.
        identifier: The individual's id, e.g. ``aggregate``, ``g0012``, ``expert-os``.
        out: The directory, created where missing.
        format: ``checkpoint`` writes the whole model, rounded to the run's dtype as it was when it was scored, with
            its tokenizer, chat templates and licence and nothing else of the base's folder; ``adapter`` a LoRA
            adapter for peft or vLLM, where the individual is one, see `formats_of`.

    Raises:
        StoreError: There is no such individual.
        ValueError: The individual is no LoRA adapter.
    """
    config = store.config()
    name = config.model.name
    vector = task_vector(store, identifier)
    known = store.base()
    base = find_base(config, revision=known.revision if known else None)
    if format == "adapter":
        if not isinstance(vector, FactoredTaskVector):
            raise ValueError(
                f"{identifier} comes from fully fine-tuned experts and is no adapter; export a checkpoint"
            )
        out.mkdir(parents=True, exist_ok=True)
        # The hub's copy is not quite the embedded model, which is found by its own name only here.
        save_lora_adapter(vector, public_name(name), out, base=name if name in PACKED else None)
    else:
        out.mkdir(parents=True, exist_ok=True)
        save_checkpoint(base, vector, with_dtype(config).model.dtype, out)
    write_card(store, identifier, out, base=base, dtype=with_dtype(config).model.dtype, form=format)
    for file in out.rglob("*"):
        if file.is_file():
            file.chmod(_MODE)


def save_checkpoint(base: Path, vector: TaskVector, dtype: str, out: Path) -> None:
    """Writes base plus task vector as a Hugging Face directory, in files of about 4 GiB, block by block.

    Args:
        base: The base's checkpoint directory.
        vector: The task vector.
        dtype: What the weights are rounded to, e.g. ``bfloat16``.
        out: A directory that exists.
    """
    for file in _belonging(base):
        (out / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(base / file, out / file)
    settings = json.loads((base / _CONFIG).read_text())
    settings.pop("torch_dtype", None)  # what transformers wrote before version 4.56
    (out / _CONFIG).write_text(json.dumps(settings | {"dtype": dtype}, indent=2) + "\n")
    merged = MergedWeights(BaseWeights(base), vector, getattr(torch, dtype))
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards(merged.shapes(), merged.dtype.itemsize), start=1):
        file_name = f"model-{number:05d}.safetensors"
        write_shard(out / file_name, shapes, merged.dtype, merged.blocks)
        weight_map |= dict.fromkeys(shapes, file_name)
    if len(set(weight_map.values())) == 1:
        (out / "model-00001.safetensors").rename(out / "model.safetensors")
    else:
        index = {"metadata": {}, "weight_map": weight_map}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def _belonging(base: Path) -> Iterator[Path]:
    """What of a base's folder goes with every model made of it: tokenizer, templates, sampling values, licence."""
    for file in sorted(base.iterdir()):
        if file.is_file() and _belongs(file.name):
            yield Path(file.name)
    for file in sorted((base / _TEMPLATES).glob("*.jinja")):
        yield file.relative_to(base)


def _belongs(name: str) -> bool:
    lower = name.lower()
    if lower in _OTHERS or lower.startswith(".") or lower.endswith(".index.json"):
        return False
    return lower.startswith(_LICENCES) or Path(lower).suffix in _BELONGS


def shards(shapes: Mapping[str, tuple[int, ...]], itemsize: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """What goes into each file of a checkpoint: names and shapes, in their order, about 4 GiB a file."""
    shard: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, shape in shapes.items():
        shard[name] = shape
        size += itemsize * math.prod(shape)
        if size >= _SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard
