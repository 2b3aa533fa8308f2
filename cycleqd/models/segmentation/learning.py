"""Training a SAM on pictures with masks: the loss and the loop that base and experts share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

from cycleqd.models.learning_rate import warmup_then_cosine
from cycleqd.models.segmentation.shape import mask_logits, prompt_arguments, to_pixels
from cycleqd.models.side_by_side import GATE
from cycleqd.skills.segmentation.pictures import Picture
from cycleqd.skills.segmentation.prompts import Kind, prompt_of


class Batch(NamedTuple):
    """Pictures of one optimizer step with prompts of one kind."""

    pictures: Sequence[Picture]
    prompt: Kind


class Stopped(Exception):
    """Training was asked to end."""


class Keeper(Protocol):
    """Keeps where a training stands."""

    def restore(self) -> Sequence[float]:
        """Takes up a kept state, where there is one; the losses of the steps that it has."""
        ...

    def offer(self, losses: Sequence[float]) -> None:
        """Keeps the state after these steps, if that was not done for a while."""
        ...

    def save(self, losses: Sequence[float]) -> None:
        """Keeps the state after these steps."""
        ...


Keeping = Callable[[Sequence[torch.nn.Parameter], torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler], Keeper]
"""Makes a keeper of the trained parameters, their optimizer and its schedule."""


def mask_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy plus Dice loss, a mean over images; at most about 1.7 for a mask of zeros.

    Args:
        logits: Shape (images, size, size).
        truth: 0 or 1, same shape.
    """
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    found = logits.sigmoid()
    overlap = 2 * (found * truth).sum((1, 2)) + 1
    return entropy + (1 - overlap / (found.sum((1, 2)) + truth.sum((1, 2)) + 1)).mean()


def fit(
    model: Any,
    batches: Iterator[Batch],
    steps: int,
    *,
    size: int,
    learning_rate: float,
    warmup_fraction: float = 0.1,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    micro_batch: int = 8,
    progress: Callable[[int, int, float, int], None] | None = None,
    stop: threading.Event | None = None,
    keeping: Keeping | None = None,
) -> list[float]:
    """Trains what of a model wants gradients: AdamW, linear warm-up, then a cosine down to zero.

    Args:
        model: A `SamModel`, or peft's form of one; trained in place.
        batches: Gives at least `steps` batches.
        steps: Optimizer steps.
        size: Side of the model's images, in pixels.
        learning_rate: Its peak.
        warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
        weight_decay: AdamW's.
        max_grad_norm: Gradients are clipped to this norm.
        micro_batch: Pictures a forward pass; gradients add up to a batch.
        progress: Called after each step with step, steps, loss, and pictures seen.
        stop: When set, training ends at its next step.
        keeping: Makes what keeps the training's state; a state that it has is taken up, and its batches are skipped.

    Returns:
        The loss of each step.

    Raises:
        Stopped: `stop` was set.
        RuntimeError: The loss is not finite any more.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine(steps, warmup_fraction))
    keeper = keeping(trained, optimizer, rates) if keeping else None
    losses = list(keeper.restore()) if keeper else []
    seen = sum(len(next(batches).pictures) for _ in losses)
    model.train()
    for step in range(len(losses) + 1, steps + 1):
        if stop and stop.is_set():
            if keeper:
                keeper.save(losses)
            raise Stopped("the run is being stopped")
        batch = next(batches)
        loss = 0.0
        with GATE.stepping():
            for first in range(0, len(batch.pictures), micro_batch):
                part = batch.pictures[first : first + micro_batch]
                share = loss_of(model, Batch(part, batch.prompt), size) * (len(part) / len(batch.pictures))
                share.backward()  # type: ignore[no-untyped-call] # torch has no types for it
                loss += share.item()
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss is {loss} in step {step}: training diverged; lower the learning rate")
            torch.nn.utils.clip_grad_norm_(trained, max_grad_norm)
            optimizer.step()
            rates.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        seen += len(batch.pictures)
        if progress:
            progress(step, steps, loss, seen)
        if keeper:
            keeper.offer(losses)
    model.eval()
    return losses


def loss_of(model: Any, batch: Batch, size: int) -> torch.Tensor:
    """The loss of a batch."""
    device = next(model.parameters()).device
    prompts = [prompt_of(picture.mask, batch.prompt) for picture in batch.pictures]
    if batch.prompt == "point" and any(prompt.point is None for prompt in prompts):
        raise ValueError("a picture without an object has no point to prompt with: leave it out of training")
    arguments = prompt_arguments(prompts, [picture.mask.shape for picture in batch.pictures], size)
    pixels = to_pixels([picture.image for picture in batch.pictures], size).to(device)
    truth = torch.stack([_square(picture, size) for picture in batch.pictures]).to(device)
    return mask_loss(
        mask_logits(model, pixels, {name: one.to(device) for name, one in arguments.items()}, size), truth
    )


def _square(picture: Picture, size: int) -> torch.Tensor:
    mask = Image.fromarray(picture.mask.astype("uint8") * 255)
    resized = mask if mask.size == (size, size) else mask.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized) >= 128).float()
