"""What the linear layers of an expert read: second moments of their inputs, measured on conversations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from cycleqd.base_model import BaseWeights, parameters_of
from cycleqd.experts.conversations import Encoded, collate
from cycleqd.experts.sources.forms import product
from cycleqd.experts.summary import TrainingStopped
from cycleqd.models.hardware import torch_device
from cycleqd.task_vector import LoraFactors

if TYPE_CHECKING:  # most runs show no images
    from cycleqd.models.vision_language import Sight

Moments = Mapping[str, torch.Tensor]
"""By parameter name E[x xᵀ] over the tokens, shape (n, n), fp32; layers that read the same tensor share one."""

_ROWS = 8
"""Conversations of a forward pass."""


def lacking_memory(widths: Sequence[int], experts: int, limit: float | None = None) -> str:
    """What is to be said where the moments of all experts might not fit into memory; empty where they do.

    Layers that read the same tensor share their moments, so somewhat less is needed.

    Args:
        widths: How many inputs each matrix has.
        experts: Number of experts.
        limit: GiB that the moments may take; None where the machine alone limits them.
    """
    needed = experts * sum(4 * width**2 for width in widths)
    available = psutil.virtual_memory().available
    if limit is not None and needed > limit * 2**30:
        return (
            f"regmean may need {needed / 2**30:.1f} GiB of memory for the moments of {len(widths)} matrices, "
            f"and memory_limit is {limit:g} GiB"
        )
    if needed <= available:
        return ""
    return (
        f"regmean may need {needed / 2**30:.1f} GiB of memory for the moments of {len(widths)} matrices, "
        f"and {available / 2**30:.1f} are free"
    )


def input_moments(
    base: Path,
    factors: Mapping[str, LoraFactors],
    rows: Sequence[Encoded],
    names: Sequence[str],
    *,
    dtype: str = "float32",
    sight: Sight | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Moments:
    """Plays conversations through an expert and averages x xᵀ over all their tokens.

    Args:
        base: The base's checkpoint directory.
        factors: The expert's LoRA factors by parameter name.
        rows: Encoded conversations, at least one.
        names: The matrices whose inputs are measured, by parameter name. Matrices that are no linear layer of their
            own (experts of a mixture, their routers) cannot be measured and are left out.
        dtype: What the model computes in; moments are summed in fp32.
        sight: Sees the images of conversations that show some.
        progress: Called with the conversations done and their number.
        stop: When set, measuring ends at the next batch.

    Raises:
        TrainingStopped: `stop` was set.
        ValueError: No conversations, or a name that is no matrix of the model.
    """
    if not rows:
        raise ValueError("moments need at least one conversation")
    model, parameters = _expert(base, factors, dtype)
    modules = dict(model.named_modules())
    tally = _Tally()
    for name in names:
        module = modules.get(name.removesuffix(".weight"))
        if not isinstance(module, torch.nn.Linear):
            if name in parameters and parameters[name].ndim == 2:
                continue
            raise ValueError(f"{name} is no weight of a linear layer, so its inputs cannot be measured")
        module.register_forward_pre_hook(tally.hook(name))
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    device = next(model.parameters()).device
    with torch.no_grad():
        for first in range(0, len(ordered), _ROWS):
            if stop is not None and stop.is_set():
                raise TrainingStopped("measuring was stopped")
            batch = ordered[first : first + _ROWS]
            collated = collate(batch, 0)
            padded = collated.input_ids.to(device)
            shown = {"input_ids": padded}
            if sight is not None and collated.images:
                shown = {"inputs_embeds": sight.embedded(model, padded, collated.images)}
            lengths = torch.tensor([len(row.input_ids) for row in batch], device=device)
            tally.begin(torch.arange(padded.shape[1], device=device) < lengths[:, None])
            # Causal attention keeps the padding on the right out of what comes before it.
            model(**shown, use_cache=False, logits_to_keep=1)
            if progress is not None:
                progress(min(first + _ROWS, len(ordered)), len(ordered))
    return tally.means()


class _Tally:
    """Sums of x xᵀ. Layers that are handed the very same tensor, one after the other, share a sum."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._owner: dict[str, str] = {}
        self._last: tuple[torch.Tensor, str] | None = None
        self._mask: torch.Tensor | None = None
        self._tokens = 0

    def begin(self, mask: torch.Tensor) -> None:
        """Starts a batch; `mask` says which of its tokens count, shape (rows, longest)."""
        self._mask, self._last = mask, None
        self._tokens += int(mask.sum())

    def hook(self, name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        """Adds up what a layer reads."""

        def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            (x,) = inputs
            if self._last is not None and self._last[0] is x:
                self._owner[name] = self._last[1]
                return
            self._last = (x, name)
            self._owner[name] = name
            tokens = x[self._mask].float()
            total = self._sums.setdefault(name, torch.zeros(x.shape[-1], x.shape[-1], device=x.device))
            if x.device.type == "cpu":
                # NumPy sees that this is symmetric and computes one half of it.
                array = tokens.numpy()
                total.add_(torch.from_numpy(array.T @ array))
            else:
                total.addmm_(tokens.T, tokens)

        return add

    def means(self) -> dict[str, torch.Tensor]:
        """The averages over all tokens."""
        done = {name: (total / self._tokens).cpu() for name, total in self._sums.items()}
        return {name: done[owner] for name, owner in self._owner.items()}


def _expert(base: Path, factors: Mapping[str, LoraFactors], dtype: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The expert's model, and its parameters by the names of the base's files."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), trust_remote_code=False)
    parameters = parameters_of(model, BaseWeights(base))
    with torch.no_grad():
        for name, update in factors.items():
            if name not in parameters:
                raise ValueError(f"{name} is no parameter of the base model")
            parameters[name].add_(product(update).to(parameters[name].dtype))
    return model.eval().to(torch_device()), parameters
