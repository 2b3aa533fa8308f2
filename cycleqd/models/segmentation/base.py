"""The small base, ``tiny-sam``: a SAM in shape, trained here on plain shapes: no package carries a real one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from cycleqd.base_model import resolve_base, staged
from cycleqd.models.segmentation.learning import Batch, fit
from cycleqd.models.segmentation.shape import check_sam, tiny_config
from cycleqd.randomness import rng
from cycleqd.skills.segmentation.domains import shapes
from cycleqd.skills.segmentation.prompts import KINDS

TINY_SAM: Final = "tiny-sam"
"""The name of the small base in a configuration."""
STEPS, BATCH, LEARNING_RATE = 1000, 16, 1e-3
_SEED: Final = 0
_VERSION: Final = 1
"""Of what the base learns; raised when that changes, so that a cached base is not taken for a new one."""

log = logging.getLogger(__name__)


def resolve_sam(name: str, cache_dir: Path, *, revision: str | None = None) -> Path:
    """The checkpoint directory of a SAM; trains the small one where it is asked for first.

    Args:
        name: ``tiny-sam``, a checkpoint directory, or a hub id such as ``facebook/sam-vit-huge``.
        cache_dir: Where a trained or downloaded model is kept.
        revision: Branch, tag or commit of a hub model.

    Raises:
        BaseModelInvalid: It is no SAM.
        BaseModelUnavailable: The hub does not give it.
    """
    folder = tiny_sam(cache_dir) if name == TINY_SAM else resolve_base(name, cache_dir, revision=revision)
    check_sam(folder)
    return folder


def tiny_sam(cache_dir: Path, *, steps: int = STEPS, batch: int = BATCH) -> Path:
    """The small base, from the cache or trained now.

    Training is the same every time on one kind of processor. Other kinds give other bits: a run keeps the hash of the
    base that it began with.

    Args:
        cache_dir: Where it is kept.
        steps: Optimizer steps; others than the usual ones give another base.
        batch: Pictures a step.
    """
    settings = {"version": _VERSION, "steps": steps, "batch": batch, "rate": LEARNING_RATE, "seed": _SEED}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    target = cache_dir / f"{TINY_SAM}-{key}"
    if not target.is_dir():
        with staged(target) as staging:
            _train(staging, steps, batch)
    return target.resolve()


def _train(out: Path, steps: int, batch: int) -> None:
    from transformers import SamModel

    log.info("training %s on plain shapes (once, a few minutes)", TINY_SAM)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = SamModel(tiny_config())
    model.vision_encoder.config._attn_implementation = "eager"

    def report(step: int, of: int, loss: float, seen: int) -> None:
        if step % 100 == 0:
            log.info("%s: step %d of %d, loss %.3f", TINY_SAM, step, of, loss)

    size = model.config.vision_config.image_size
    fit(
        model, _batches(batch, size), steps, size=size, learning_rate=LEARNING_RATE, micro_batch=batch, progress=report
    )
    model.save_pretrained(out)


def _batches(count: int, size: int) -> Iterator[Batch]:
    """Shapes without end, the three kinds of prompts in turn; with the first kind there is only one to be found."""
    step = 0
    while True:
        drawn = rng(_SEED, step, "segmentation shapes")
        pictures = [picture for _ in range(count) if (picture := shapes(drawn, size, 0)).mask.any()]
        yield Batch(pictures, KINDS[step % len(KINDS)])
        step += 1
