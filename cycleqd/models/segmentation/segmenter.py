"""The engine of segmentation: it is asked with an image and a prompt, and replies with a map."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cycleqd.base_model import BaseWeights
from cycleqd.models.causal_lm.canary import Canary, LogProbabilities, finite
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.models.causal_lm.protocol import ChatRequest, Reply, refuse_other_base
from cycleqd.models.hardware import torch_device
from cycleqd.models.segmentation.shape import (
    check_sam,
    load_sam,
    mask_logits,
    prompt_arguments,
    tensors_of,
    to_pixels,
)
from cycleqd.skills.segmentation.metrics import Map
from cycleqd.skills.segmentation.pictures import map_to_text
from cycleqd.skills.segmentation.prompts import Prompt, from_message
from cycleqd.task_vector import TaskVector

ImageOf = Callable[[str], NDArray[np.uint8]]
"""The image of a sample's id: RGB, shape (height, width, 3)."""
_CANARY_SEED: Final = 7


class Segmenter:
    """An `Engine` that holds a SAM: base plus one task vector.

    Requests are messages of `cycleqd.skills.segmentation.prompts`, replies are maps as
    `cycleqd.skills.segmentation.pictures.map_to_text` writes them, of the image's own size. Decoding has no chance in
    it. Concurrent calls wait for each other, so every call is a batch of its own.

    Args:
        base: The base's checkpoint directory.
        image_of: Finds the image that a request names.
        dtype: What the weights are rounded to: ``bfloat16``, ``float16`` or ``float32``. Computed is in fp32.
        max_batch: Most images in one call of the model.

    Raises:
        BaseModelInvalid: The base is no SAM, its parameters are not those of the model, or it computes no finite
            numbers.
    """

    name = "segmenter"

    def __init__(self, base: Path, image_of: ImageOf, *, dtype: str = "float32", max_batch: int = 16) -> None:
        self._size = check_sam(base)
        self._weights = BaseWeights(base)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._image_of = image_of
        self._max_batch = max_batch
        self._device = torch_device()
        self._model: Any = load_sam(base).to(self._device).eval()
        self._tensors = tensors_of(self._model)
        self._lock = threading.Lock()
        self._exclusive = threading.Lock()
        self._busy = 0.0
        self._loaded = ""
        self._write(MergedWeights(self._weights, None, self._dtype))
        self._canary = Canary(finite(base, self._measure_canary()))
        self._loaded = "base"

    @property
    def loaded(self) -> str:
        """The genome that is served; empty after a failed load."""
        return self._loaded

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """See `Engine.load`.

        Raises:
            ValueError: The task vector does not fit the base, or calls itself ``base``.
            WeightsNotLoaded: The map of a fixed image contradicts the load.
        """
        if genome == self._loaded:
            return
        refuse_other_base(genome, task_vector)
        merged = MergedWeights(self._weights, task_vector, self._dtype, self._device)
        with self._lock:
            self._loaded = ""  # should the load fail, nothing is known of the weights
            self._write(merged)
            self._canary.check(genome, self._measure_canary(), merged)
            self._loaded = genome

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """A map for each request, in their order; see `Engine.chat`.

        Raises:
            ValueError: A request is none of a segmentation skill.
            RuntimeError: The last load failed, or the engine is closed.
        """
        asked = [from_message(request.messages[-1]["content"]) for request in requests]
        maps = self.segment([self._image_of(image) for image, _ in asked], [prompt for _, prompt in asked])
        # A map counts as one token, in and out.
        return [Reply(map_to_text(one), 1, 1, "stop") for one in maps]

    def segment(self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[Prompt]) -> list[Map]:
        """The maps of images: the probability of the object for each pixel.

        Args:
            images: RGB, each of shape (height, width, 3).
            prompts: One for each image.

        Returns:
            Maps of the images' own sizes, in their order.
        """
        with self._lock:
            if self._model is None:
                raise RuntimeError("the engine is closed")
            if not self._loaded:
                raise RuntimeError("the last load failed: load weights before segmenting")
            started = time.perf_counter()
            maps: dict[int, Map] = {}
            for boxes in (True, False):  # the model takes one kind of prompt at a time
                chosen = [index for index, prompt in enumerate(prompts) if (prompt.box is not None) == boxes]
                for first in range(0, len(chosen), self._max_batch):
                    part = chosen[first : first + self._max_batch]
                    found = self._maps([images[index] for index in part], [prompts[index] for index in part])
                    maps |= dict(zip(part, found, strict=True))
            self._busy += time.perf_counter() - started
        return [maps[index] for index in range(len(images))]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`. Here every `chat` call is a batch of its own anyway."""
        with self._exclusive:
            yield

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`."""
        return self._busy

    def close(self) -> None:
        """Frees the model's memory."""
        with self._lock:
            self._model = None
            self._tensors = {}
        gc.collect()

    @torch.no_grad()
    def _write(self, merged: MergedWeights) -> None:
        for name, tensor in merged:
            self._tensors[name].copy_(tensor)

    @torch.inference_mode()
    def _maps(self, images: list[NDArray[np.uint8]], prompts: list[Prompt]) -> list[Map]:
        shapes = [(image.shape[0], image.shape[1]) for image in images]
        arguments = prompt_arguments(prompts, shapes, self._size)
        pixels = to_pixels(images, self._size).to(self._device)
        given = {name: one.to(self._device) for name, one in arguments.items()}
        logits = mask_logits(self._model, pixels, given, self._size).cpu()
        found = []
        for row, shape in zip(logits, shapes, strict=True):
            own = row
            if shape != (self._size, self._size):
                own = torch.nn.functional.interpolate(row[None, None], shape, mode="bilinear", align_corners=False)[
                    0, 0
                ]
            found.append(own.sigmoid().numpy().astype(np.float64))
        return found

    @torch.inference_mode()
    def _measure_canary(self) -> LogProbabilities:
        image = np.random.default_rng(_CANARY_SEED).integers(0, 256, (self._size, self._size, 3), dtype=np.uint8)
        whole = Prompt(box=(0, 0, self._size, self._size))
        arguments = prompt_arguments([whole], [image.shape[:2]], self._size)
        pixels = to_pixels([image], self._size).to(self._device)
        given = {name: one.to(self._device) for name, one in arguments.items()}
        return np.asarray(mask_logits(self._model, pixels, given, self._size).cpu().numpy(), dtype=np.float32)
