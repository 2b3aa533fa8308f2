"""Supervised fine-tuning of a segmentation expert: LoRA on the image encoder, the mask decoder trained whole.

After Zhong et al. 2024 (Conv-LoRA, https://arxiv.org/abs/2401.17868): the image encoder and the prompt encoder stay as
they are, the encoder's linear layers get LoRA, the mask decoder learns with all its weights. Not taken from there: the
convolutions inside the adapters, which would be no sum of matrices that merges, and their loss.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from cycleqd.experts.progress import ProgressCallback, TrainingProgress, default_progress
from cycleqd.experts.resuming import Best, Done, Kept, Place
from cycleqd.experts.settings import Method
from cycleqd.experts.summary import TrainingStopped, TrainingSummary, summary_of
from cycleqd.models.hardware import torch_device
from cycleqd.models.segmentation.learning import Batch, Stopped, fit
from cycleqd.models.segmentation.shape import check_sam, load_sam
from cycleqd.models.side_by_side import GATE
from cycleqd.skills.segmentation.pictures import Picture
from cycleqd.skills.segmentation.prompts import Kind

ADAPTED: Final = r"vision_encoder\.layers\.\d+\.(attn\.(qkv|proj)|mlp\.lin[12])"
"""The linear layers of the image encoder."""
DECODER: Final = "mask_decoder"


def train_segmenter(
    base: Path,
    pictures: Sequence[Picture],
    out: Path,
    *,
    prompt: Kind = "whole",
    method: Method = "lora",
    rank: int = 8,
    alpha: float = 16.0,
    epochs: float = 1.0,
    learning_rate: float = 1e-3,
    global_batch: int = 8,
    micro_batch: int = 8,
    warmup_fraction: float = 0.1,
    max_grad_norm: float = 1.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
    place: Place | None = None,
) -> TrainingSummary:
    """Fine-tunes a SAM on pictures with masks and saves the expert.

    The loss is binary cross entropy plus Dice. Pictures are flipped at random. Everything is computed in fp32; the
    same arguments give the same expert on one machine with the same number of threads.

    Args:
        base: The base's checkpoint directory.
        pictures: Images with masks, of any sizes.
        out: Directory for the expert, created where missing: a peft adapter that holds the decoder too, or for
            ``full`` a checkpoint in fp32.
        prompt: What the model is told; without an object it is the whole image.
        method: ``lora`` as above; ``full`` trains every parameter but the prompt encoder's.
        rank: LoRA rank, at least 1.
        alpha: The LoRA update is multiplied by alpha / rank.
        epochs: Passes over the pictures; may be fractional.
        learning_rate: Peak learning rate; linear warm-up, then a cosine down to zero.
        global_batch: Pictures an optimizer step.
        micro_batch: Pictures a forward pass.
        warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
        max_grad_norm: Gradients are clipped to this norm.
        weight_decay: AdamW's.
        seed: Seeds adapter, order and flips.
        progress: Called after each step, with pictures a second for tokens a second.
        stop: When set, training ends at its next step, and no expert is saved.
        place: Where the state of the training is kept now and then, and when it is stopped. A state that it has is
            taken up if it is of the same settings and pictures.

    Returns:
        The summary, with pictures for conversations and tokens.

    Raises:
        BaseModelInvalid: The base is no SAM.
        TrainingStopped: `stop` was set.
        ValueError: There are no pictures.
        RuntimeError: The loss is not finite any more.
    """
    if not pictures:
        raise ValueError("a segmentation expert needs pictures to learn from")
    size = check_sam(base)
    device = torch_device()
    with GATE.building():
        model = _build(base, method, rank, alpha, seed).to(device)
    total = max(1, round(epochs * len(pictures)))
    steps = -(-total // global_batch)
    settings = {
        **{"method": method, "rank": rank, "alpha": alpha, "epochs": epochs, "learning_rate": learning_rate},
        **{"global_batch": global_batch, "micro_batch": micro_batch, "warmup_fraction": warmup_fraction},
        **{"max_grad_norm": max_grad_norm, "weight_decay": weight_decay, "seed": seed, "prompt": prompt},
        **{"pictures": _hash(pictures)},
    }
    with ExitStack() as stack:
        report = progress or stack.enter_context(default_progress())
        clock = _Clock()

        def keeping(
            trained: Sequence[torch.nn.Parameter],
            optimizer: torch.optim.Optimizer,
            rates: torch.optim.lr_scheduler.LRScheduler,
        ) -> _Keeper:
            return _Keeper(Kept(place, settings, trained, optimizer, rates, Best(trained)), clock)

        def told(step: int, of: int, loss: float, seen: int) -> None:
            report(TrainingProgress(step, of, loss, seen / clock.seconds))

        try:
            losses = fit(
                model,
                _batches(pictures, total, global_batch, prompt, np.random.default_rng(seed)),
                steps,
                size=size,
                learning_rate=learning_rate,
                warmup_fraction=warmup_fraction,
                weight_decay=weight_decay,
                max_grad_norm=max_grad_norm,
                micro_batch=micro_batch,
                progress=told,
                stop=stop,
                keeping=keeping,
            )
        except Stopped as error:
            raise TrainingStopped(str(error)) from None
        seconds = clock.seconds
    _save(model, out, method)
    # Pictures for conversations and tokens. The losses are no nats a token, as which they would be drawn.
    return summary_of(
        losses,
        positions=total,
        conversations=total,
        left_out=0,
        tokens=total,
        seconds=seconds,
        data_hash=_hash(pictures),
        validation_loss=None,
        validation_losses=(),
    )._replace(losses=())


class _Clock:
    """Seconds of a training, all starts together."""

    def __init__(self) -> None:
        self._began, self.before = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self._began


class _Keeper:
    """A `Keeper` on the state of all trainings."""

    def __init__(self, kept: Kept, clock: _Clock) -> None:
        self._kept, self._clock = kept, clock

    def restore(self) -> Sequence[float]:
        done = self._kept.restore()
        self._clock.before = done.seconds
        return done.losses

    def offer(self, losses: Sequence[float]) -> None:
        self._kept.offer(self._done(losses))

    def save(self, losses: Sequence[float]) -> None:
        self._kept.save(self._done(losses))

    def _done(self, losses: Sequence[float]) -> Done:
        return Done(step=len(losses), seconds=self._clock.seconds, losses=tuple(losses))


def _build(base: Path, method: Method, rank: int, alpha: float, seed: int) -> Any:
    model = load_sam(base)
    if method == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad = not name.startswith(("prompt_encoder.", "shared_image_embedding."))
        return model
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=ADAPTED, modules_to_save=[DECODER], lora_dropout=0.0, bias="none"
    )
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def _batches(
    pictures: Sequence[Picture], total: int, batch: int, prompt: Kind, rng: np.random.Generator
) -> Iterator[Batch]:
    """Every picture once an epoch, in a new order each; each one flipped or not in both directions."""
    order: list[int] = []
    while len(order) < total:
        order += rng.permutation(len(pictures)).tolist()
    for first in range(0, total, batch):
        chosen = [pictures[index] for index in order[first : min(first + batch, total)]]
        yield Batch([_flipped(picture, *rng.integers(0, 2, 2)) for picture in chosen], prompt)


def _flipped(picture: Picture, down: int, across: int) -> Picture:
    steps = slice(None, None, -1 if down else 1), slice(None, None, -1 if across else 1)
    return Picture(np.ascontiguousarray(picture.image[steps]), np.ascontiguousarray(picture.mask[steps]))


def _save(model: Any, out: Path, method: Method) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    if method == "lora":
        (out / "README.md").unlink(missing_ok=True)  # peft's empty model card


def _hash(pictures: Sequence[Picture]) -> str:
    digest = hashlib.sha256()
    for image, mask in pictures:
        digest.update(str(image.shape).encode() + image.tobytes() + np.packbits(mask).tobytes())
    return digest.hexdigest()
