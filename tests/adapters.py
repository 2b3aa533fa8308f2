"""Adapters that peft itself makes on tiny models, and what peft makes of them."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from cycleqd.base_model import BaseWeights
from cycleqd.model_layout import as_stored

PLAIN = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def save_adapter(base: Path, out: Path, *, seed: int = 0, **options: object) -> Path:
    """An adapter with random values in everything that it trains."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**(PLAIN | options)))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(out)
    return out


def merged_deltas(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What peft's own merge adds to each of the base's parameters."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    weights = BaseWeights(base)
    merged = as_stored(model.merge_and_unload(), weights.shapes())
    return {name: merged[name].detach().float() - weights.tensor(name, torch.float32) for name in weights.names()}


def assert_same_deltas(vector, wanted: dict[str, torch.Tensor], *, atol: float = 1e-5) -> None:
    for name, delta in wanted.items():
        got = vector.delta(name) if name in vector.names() else torch.zeros_like(delta)
        torch.testing.assert_close(got, delta, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")
