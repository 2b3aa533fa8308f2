"""Where vision tower and projector come from: a LLaVA checkpoint, or a small one that is trained here once.

``tiny-vision`` learns to tell the drawn shapes of `easy-vqa`: of every training image, the colour and the shape that
the package's own questions name. Each of its tokens learns to be the embedding of one word of that caption, in the
language model that it is trained for. The language model itself computes nothing, so it takes minutes; LLaVA trains
its projector through the language model.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from cycleqd.base_model import BaseWeights, resolve_base, staged
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.models.causal_lm.rendering import load_tokenizer
from cycleqd.models.vision_language.vision import PROJECTOR, TOWER, build, check_llava, see
from cycleqd.randomness import rng
from cycleqd.skills.vision_questions.captions import Captioned, captions

TINY_VISION: Final = "tiny-vision"
"""Its name in a configuration."""
STEPS, BATCH, LEARNING_RATE = 1200, 32, 2e-3
SIZE, PATCH = 64, 16
_SEED: Final = 0
_VERSION: Final = 1
"""Of how it is trained; raised when that changes, so that a cached one is not taken for a new one."""
_SHARPNESS: Final = 10.0
_EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight")

log = logging.getLogger(__name__)


def resolve_vision(
    name: str, cache_dir: Path, base: Path, *, revision: str | None = None, split_seed: int = 0
) -> Path:
    """The checkpoint directory of vision tower and projector; trains the small one where it is asked for first.

    Args:
        name: ``tiny-vision``, the directory of a LLaVA checkpoint, or its hub id.
        cache_dir: Where a trained or downloaded one is kept.
        base: The language model's checkpoint directory.
        revision: Branch, tag or commit of a hub model.
        split_seed: As for `tiny_vision`.

    Raises:
        BaseModelInvalid: It is no LLaVA checkpoint, or does not fit the language model.
        BaseModelUnavailable: The hub does not give it.
        DataUnavailable: ``tiny-vision`` is to be trained, and the package `easy-vqa` is missing.
    """
    words = _embedding(base)
    if name == TINY_VISION:
        folder = tiny_vision(cache_dir, base, split_seed=split_seed)
    else:
        folder = resolve_base(name, cache_dir, revision=revision)
    check_llava(folder, width=words.shape[1])
    return folder


def tiny_vision(cache_dir: Path, base: Path, *, steps: int = STEPS, batch: int = BATCH, split_seed: int = 0) -> Path:
    """The small one for a language model, from the cache or trained now.

    Args:
        cache_dir: Where it is kept.
        base: The language model's checkpoint directory.
        steps: Optimizer steps; others than the usual ones give another one.
        batch: Images a step.
        split_seed: Of the skill `vqa`: the images that score its children are not learned.

    Raises:
        BaseModelInvalid: The language model has no embedding that is known.
        DataUnavailable: The package `easy-vqa` is missing.
    """
    words = _embedding(base)
    settings = {"version": _VERSION, "steps": steps, "batch": batch, "rate": LEARNING_RATE, "seed": _SEED}
    if split_seed:  # those of 0 keep the names that they have in people's caches
        settings["split_seed"] = split_seed
    content = json.dumps(settings, sort_keys=True).encode() + hashlib.sha256(words.numpy().tobytes()).digest()
    target = cache_dir / f"{TINY_VISION}-{hashlib.sha256(content).hexdigest()[:8]}"
    if not target.is_dir():
        shown = captions(split_seed)
        with staged(target) as staging:
            _train(staging, words, load_tokenizer(base), shown, steps, batch)
    return target.resolve()


def tiny_config(width: int) -> Any:
    """A LLaVA configuration: images of 64 pixels in 16 patches, three layers of 96, for embeddings of `width`."""
    from transformers import LlamaConfig, LlavaConfig, SiglipVisionConfig

    vision = SiglipVisionConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        vision_use_head=False,
    )
    # Of the language model only the width is read.
    text = LlamaConfig(
        hidden_size=width, num_hidden_layers=1, intermediate_size=8, num_attention_heads=1, vocab_size=32
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=(SIZE // PATCH) ** 2,
    )


def _embedding(base: Path) -> torch.Tensor:
    """The embeddings of a language model's words: shape (words, width), fp32."""
    weights = BaseWeights(base)
    name = next((name for name in weights.names() if name.endswith(_EMBEDDINGS)), None)
    if name is None:
        raise BaseModelInvalid(f"base model {base}: no embedding of its words was found, so it can be shown no images")
    return weights.tensor(name, torch.float32)


def _train(out: Path, words: torch.Tensor, tokenizer: Any, shown: Sequence[Captioned], steps: int, batch: int) -> None:
    from safetensors.torch import save_file

    log.info("training %s on %d captioned images (once, a few minutes)", TINY_VISION, len(shown))
    config = tiny_config(words.shape[1])
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        tower, projector = build(config)
    parameters = [*tower.parameters(), *projector.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    pixels = torch.stack([_pixels(one.image) for one in shown])
    targets = [tokenizer(f" {one.text}", add_special_tokens=False)["input_ids"] for one in shown]
    known = sorted({token for target in targets for token in target})
    place = {token: number for number, token in enumerate(known)}
    vocabulary = words[known]
    wanted = torch.tensor([_spread([place[token] for token in target]) for target in targets])
    drawn = rng(_SEED, 0, "tiny vision")
    for step in range(1, steps + 1):
        chosen = torch.from_numpy(drawn.integers(0, len(shown), batch))
        turned = [axis for axis in (2, 3) if drawn.integers(2)]  # upside down or mirrored, colour and shape stay
        seen = see(tower, projector, config, pixels[chosen].flip(turned))
        loss = _loss(seen, wanted[chosen], vocabulary)
        loss.backward()  # type: ignore[no-untyped-call] # torch has no types for it
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            log.info("%s: step %d of %d, loss %.3f", TINY_VISION, step, steps, loss.item())
    tensors = {f"{TOWER}{name}": value.contiguous() for name, value in tower.state_dict().items()}
    tensors |= {f"{PROJECTOR}{name}": value.contiguous() for name, value in projector.state_dict().items()}
    config.save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR, indent=2) + "\n")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


_PROCESSOR: Final[Mapping[str, Any]] = {
    "image_processor_type": "SiglipImageProcessor",
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
"""How images become tensors, in transformers' own words."""


def _pixels(image: np.ndarray[Any, Any]) -> torch.Tensor:
    from PIL import Image

    square = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)


def _spread(caption: Sequence[int]) -> list[int]:
    """The word of each place: those of the caption in their order, each as often as there is room."""
    places = (SIZE // PATCH) ** 2
    return [caption[place * len(caption) // places] for place in range(places)]


def _loss(seen: torch.Tensor, wanted: torch.Tensor, vocabulary: torch.Tensor) -> torch.Tensor:
    """How far every token is from its word: which word it is nearest to, and how near it comes."""
    scale = vocabulary.std()
    nearest = torch.nn.functional.normalize(seen, dim=-1) @ torch.nn.functional.normalize(vocabulary, dim=-1).T
    which = torch.nn.functional.cross_entropy(_SHARPNESS * nearest.flatten(0, 1), wanted.flatten())
    return which + torch.nn.functional.mse_loss(seen / scale, vocabulary[wanted] / scale)
