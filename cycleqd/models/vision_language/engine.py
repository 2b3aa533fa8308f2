"""Engines for conversations with images."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cycleqd.messages import images_of
from cycleqd.models.causal_lm.protocol import ChatRequest, Engine, Reply, TextRequest, prefill_seconds
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, render
from cycleqd.models.causal_lm.transformers import TransformersEngine
from cycleqd.models.vision_language.sight import Sight
from cycleqd.task_vector import TaskVector


class SeeingEngine(TransformersEngine):
    """The engine on plain transformers, which also takes conversations with images.

    Args:
        base: The language model's checkpoint directory.
        sight: Vision tower and projector, and where images are.
        dtype: As of `TransformersEngine`, like the rest.
        max_model_len: Longest conversation including the reply, in tokens; an image takes `sight.tokens` of them.
        max_batch: Most conversations in one call of the model.
        date: Today, as far as the chat template is concerned.
    """

    def __init__(
        self,
        base: Path,
        sight: Sight,
        *,
        dtype: str = "bfloat16",
        max_model_len: int = 2048,
        max_batch: int = 64,
        date: datetime.date = TEMPLATE_DATE,
    ) -> None:
        super().__init__(base, dtype=dtype, max_model_len=max_model_len, max_batch=max_batch, date=date)
        self._sight = sight

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`; conversations may show images.

        Raises:
            RuntimeError: The last load failed, or the engine is closed.
        """
        prompts = [
            self._sight.with_room(
                render(self._tokenizer, request.messages, reply_follows=True, date=self._date, images=True)
            )
            for request in requests
        ]
        return self._replies(prompts, requests)

    def _inputs(self, ids: torch.Tensor, requests: Sequence[ChatRequest | TextRequest]) -> tuple[dict[str, Any], int]:
        shown = [
            image for request in requests if isinstance(request, ChatRequest) for image in images_of(request.messages)
        ]
        if not shown:
            return super()._inputs(ids, requests)
        return {"inputs_embeds": self._sight.embedded(self._model, ids, shown)}, 0


class SharedEngine:
    """Two engines with the same weights: one for text alone, one for conversations with images.

    So a fast engine that is shown no images keeps the skills that need none.

    Args:
        text: Plays conversations without images.
        seeing: Plays the others.
    """

    def __init__(self, text: Engine, seeing: Engine) -> None:
        self._text, self._seeing = text, seeing
        self.name = text.name

    @property
    def loaded(self) -> str:
        """The genome that both serve; empty where they differ after a failed load."""
        return self._text.loaded if self._text.loaded == self._seeing.loaded else ""

    @property
    def prefill(self) -> float:
        """Seconds in which either engine read prompts; see `prefill_seconds`."""
        return prefill_seconds(self._text) + prefill_seconds(self._seeing)

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """See `Engine.load`; both engines prove it."""
        self._text.load(genome, task_vector)
        self._seeing.load(genome, task_vector)

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """See `Engine.chat`; each engine gets its part as one call, in the order of the requests."""
        replies: dict[int, Reply] = {}
        for engine, wanted in ((self._text, False), (self._seeing, True)):
            part = [index for index, request in enumerate(requests) if bool(images_of(request.messages)) == wanted]
            if part:
                replies |= dict(zip(part, engine.chat([requests[index] for index in part]), strict=True))
        return [replies[index] for index in range(len(requests))]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `Engine.exclusive`."""
        with self._text.exclusive(), self._seeing.exclusive():
            yield

    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`; what overlaps counts twice."""
        return self._text.busy_seconds() + self._seeing.busy_seconds()

    def close(self) -> None:
        """Frees both models' memory."""
        self._text.close()
        self._seeing.close()
