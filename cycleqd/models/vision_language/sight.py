"""What a vision tower sees, between the embeddings of a conversation's words."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cycleqd.models.causal_lm.rendering import IMAGE
from cycleqd.models.vision_language.vision import Vision

ImageOf = Callable[[str], NDArray[np.uint8]]
"""The image of a name that a message gives: RGB, shape (height, width, 3)."""
_KEPT_BYTES: Final = 256 * 2**20


class Sight:
    """Looks at the images that messages name. Thread-safe.

    Every image is seen alone, so what is seen of it never depends on what else is in a batch. What was seen is kept,
    as far as it takes less than 256 MiB.

    Args:
        vision: Vision tower and projector.
        image_of: Finds the image of a name.
    """

    def __init__(self, vision: Vision, image_of: ImageOf) -> None:
        self._vision = vision
        self._image_of = image_of
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._bytes = 0

    @property
    def tokens(self) -> int:
        """Places that an image takes among the tokens."""
        return self._vision.tokens

    def with_room(self, ids: Sequence[int]) -> list[int]:
        """Token ids with as many `IMAGE` as an image takes, in place of one each."""
        return [one for token in ids for one in ([IMAGE] * self.tokens if token == IMAGE else [token])]

    def look(self, image: str) -> torch.Tensor:
        """What the language model reads of an image: shape (tokens, width), fp32."""
        with self._lock:
            if image in self._seen:
                self._seen.move_to_end(image)
                return self._seen[image]
            found = self._vision.features([self._image_of(image)])[0]
            self._seen[image] = found
            self._bytes += found.nbytes
            while self._bytes > _KEPT_BYTES and len(self._seen) > 1:
                self._bytes -= self._seen.popitem(last=False)[1].nbytes
            return found

    def embedded(self, model: Any, ids: torch.Tensor, images: Sequence[str]) -> torch.Tensor:
        """Embeddings of a batch, with what is seen where its ids are `IMAGE`.

        Args:
            model: The language model, or peft's form of one.
            ids: Shape (rows, longest), on the model's device; `tokens` places in a row for each image.
            images: The images of all rows, in their order.

        Returns:
            Shape (rows, longest, width), in the model's dtype.

        Raises:
            ValueError: There are more or fewer places than the images take.
        """
        places = ids == IMAGE
        if int(places.sum()) != self.tokens * len(images):
            raise ValueError(
                f"{len(images)} images take {self.tokens * len(images)} places, there are {int(places.sum())}"
            )
        words: torch.Tensor = model.get_input_embeddings()(ids.masked_fill(places, 0))
        if not images:
            return words
        seen = torch.cat([self.look(image) for image in images]).to(words.device, words.dtype)
        # A copy: what was seen is an inference tensor, and training may want gradients of the words.
        return words.masked_scatter(places[..., None], seen.clone())
