"""What decides what a training learns, whoever does the training."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE

Method = Literal["lora", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings of a fine-tuning on conversations.

    AdamW, linear warm-up, then a cosine down to zero; the loss is the mean over the assistant's tokens of a global
    batch, however it is cut into micro batches and dealt to processes.

    Attributes:
        method: ``lora`` adapts all linear layers but the output head; ``full`` trains every parameter.
        rank: LoRA rank, at least 1.
        alpha: The LoRA update is multiplied by alpha / rank.
        epochs: Passes over the conversations; may be fractional.
        learning_rate: Peak learning rate.
        global_batch: Conversations an optimizer step.
        micro_batch: Rows a forward pass, at most; gradients accumulate to the global batch.
        max_length: Longer conversations, in tokens, are left out.
        packing: Whether a row holds as many conversations of the global batch as fit into `max_length` tokens,
            instead of one and its padding. What is learned is the same, up to rounding.
        warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
        max_grad_norm: Gradients are clipped to this norm.
        weight_decay: AdamW's.
        betas: AdamW's.
        seed: Seeds adapter, order and held-out conversations.
        dtype: ``float32`` computes in fp32; ``bfloat16`` and ``float16`` compute in bf16. What is trained is fp32.
        validation_fraction: Share of the conversations held out, in [0, 0.5). After each epoch their loss is
            measured, and the weights of the lowest are saved.
        date: Today, as far as the chat template is concerned.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: float = 32.0
    epochs: float = 1.0
    learning_rate: float = 5e-4
    global_batch: int = 8
    micro_batch: int = 8
    max_length: int = 512
    packing: bool = False
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    seed: int = 0
    dtype: str = "bfloat16"
    validation_fraction: float = 0.0
    date: datetime.date = TEMPLATE_DATE

    def plain(self) -> dict[str, Any]:
        """All settings as JSON can hold them; `of_plain` reads them."""
        return asdict(self) | {"betas": list(self.betas), "date": self.date.isoformat()}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """The settings that `plain` wrote."""
        date = datetime.date.fromisoformat(values["date"])
        return cls(**{**values, "betas": tuple(values["betas"]), "date": date})
