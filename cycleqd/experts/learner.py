"""The model that is trained: how it is built, what its loss is, how it is saved. The same for every trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from cycleqd.experts.conversations import IGNORED, Batch
from cycleqd.experts.settings import Method, TrainingSettings

if TYPE_CHECKING:  # peft and transformers' models take ten seconds to load, and most processes train nothing
    from peft import LoraConfig

    from cycleqd.models.vision_language import Sight

_SHORT_TOKENS: Final = 1024
"""Rows up to this length attend without the fused kernel on a CPU."""


def build_model(base: Path, settings: TrainingSettings) -> Any:
    """The base on the CPU, with what is trained in fp32; for ``lora`` inside a peft model."""
    from transformers import AutoModelForCausalLM

    # What is trained stays fp32: bf16 would swallow small steps. A frozen base may be bf16.
    frozen_bf16 = settings.method == "lora" and settings.dtype == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16 if frozen_bf16 else torch.float32,
        attn_implementation=_attention(settings.max_length),
        trust_remote_code=False,
    )
    model.config.use_cache = False  # with a cache, packed rows would attend across their conversations
    if settings.method == "full":
        _forget_sampling_values(model)
        return model
    from peft import get_peft_model

    config = lora_config(settings.rank, settings.alpha)
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)


def lora_config(rank: int, alpha: float) -> LoraConfig:
    """What is adapted by LoRA: all linear layers but the output head."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")


def _attention(max_length: int) -> str:
    # The backward pass of torch's fused attention is slow on CPUs: for short rows plain products train a small model
    # a sixth faster. They hold all attention weights, so not for long ones.
    return "eager" if not torch.cuda.is_available() and max_length <= _SHORT_TOKENS else "sdpa"


def _forget_sampling_values(model: Any) -> None:
    """Takes out the base's sampling values: they may contradict each other, and saving refuses them then."""
    from transformers import GenerationConfig

    given = model.generation_config
    special = {name: getattr(given, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**special)


def summed_loss(
    model: Any, batch: Batch, *, dtype: str, device: torch.device, sight: Sight | None = None
) -> torch.Tensor:
    """The summed cross entropy of a batch's trained tokens.

    Args:
        model: The model of `build_model`, or what wraps it.
        batch: The batch.
        dtype: As in `TrainingSettings`.
        device: Where the model is.
        sight: Sees the batch's images.
    """
    from peft.helpers import disable_input_dtype_casting

    wanted = batch.labels[:, 1:]
    # Logits are wanted only at positions where some row is trained: the head is a fifth of a small model.
    positions = (wanted != IGNORED).any(dim=0).nonzero().flatten()
    with ExitStack() as stack:
        if dtype != "float32":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
            # Autocast casts to bf16 anyway; peft's own cast of every input to fp32 would come on top.
            stack.enter_context(disable_input_dtype_casting(model))
        # Positions that start anew tell transformers where a packed row's conversations end: no attention across.
        places = {} if batch.position_ids is None else {"position_ids": batch.position_ids.to(device)}
        ids = batch.input_ids.to(device)
        shown = {"input_ids": ids}
        if sight is not None and batch.images:
            shown = {"inputs_embeds": sight.embedded(model, ids, batch.images)}
        logits = model(**shown, logits_to_keep=positions.to(device), **places).logits
    chosen = wanted[:, positions].to(device)
    taught = chosen != IGNORED
    return torch.nn.functional.cross_entropy(logits[taught].float(), chosen[taught], reduction="sum")


def check_finite(loss: float, step: int) -> None:
    """Refuses to go on from a loss that is no number.

    Raises:
        RuntimeError: It is none.
    """
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss is {loss} in step {step}: training diverged; lower the learning rate")


def save_expert(
    model: Any, tokenizer: Any, out: Path, method: Method, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Saves what was trained.

    Args:
        model: The model of `build_model`, unwrapped.
        tokenizer: The base's, which a checkpoint holds, too.
        out: The expert's directory, created where missing: a peft adapter (``adapter_model.safetensors``,
            ``adapter_config.json``), or for ``full`` a checkpoint in fp32 (``model.safetensors`` and the rest).
        method: How it was trained.
        weights: All its weights, where the model holds a part of them; by the model's own names.
    """
    out.mkdir(parents=True, exist_ok=True)
    # What is gathered has tied weights twice, no longer in one place, so that saving would not know them.
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    given = {} if weights is None else {"state_dict": {key: one for key, one in weights.items() if key not in tied}}
    if method == "lora":
        config = model.peft_config["default"]
        config.target_modules = sorted(config.target_modules)  # a set, whose order would differ from run to run
        if config.target_parameters:  # of mixtures of experts, where peft finds the stacks of matrices itself
            config.target_parameters = sorted(config.target_parameters)
        # Embeddings are never trained; "auto" would ask the hub whether the vocabulary grew.
        model.save_pretrained(out, save_embedding_layers=False, **given)
        (out / "README.md").unlink(missing_ok=True)  # peft's empty model card
        return
    used, model.config.use_cache = model.config.use_cache, True
    model.save_pretrained(out, **given)
    model.config.use_cache = used
    tokenizer.save_pretrained(out)
