"""The base model's settings."""

from __future__ import annotations

import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from cycleqd.config.section import Section

_GIVEN: Final = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "strftime_now")


def _is_free(name: str) -> str:
    if name in _GIVEN:
        raise ValueError(f"{name} is not a setting: every conversation has its own")
    return name


TemplateVariable = Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$"), AfterValidator(_is_free)]
"""A variable of a chat template."""


class ModelConfig(Section):
    """The base model that every expert starts from."""

    kind: Literal["chat", "segmentation"] = "chat"
    """What the model is: a causal LM that acts in sandboxes, or a SAM that segments images. All skills must be of this
    kind."""
    name: str = Field("smollm2-135m-instruct", min_length=1)
    """A model that packages carry (``smollm2-135m-instruct``, ``qwen2.5-coder-0.5b-instruct``), a local Hugging Face
    checkpoint directory, a GGUF file, or a Hugging Face hub id of a causal LM; for
    segmentation ``tiny-sam``, a directory or hub id of a SAM."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """Branch, tag or commit of a hub model. Unless given: the main branch as it is at the first start; the run keeps
    that commit."""
    vision: Annotated[str, Field(min_length=1)] | None = None
    """Vision tower and projector for skills that show images: ``tiny-vision``, which is trained here once, or a
    directory or hub id of a LLaVA checkpoint, of whose language model nothing is used. It never changes."""
    vision_revision: Annotated[str, Field(min_length=1)] | None = None
    """Branch, tag or commit of a hub model that `vision` names."""
    chat_template: Annotated[str, Field(min_length=1)] | None = None
    """A file with a chat template in place of the model's own."""
    chat_template_kwargs: dict[TemplateVariable, bool | int | float | str] = {}  # noqa: RUF012 -- pydantic copies it
    """What the chat template is told beside the messages, e.g. ``{enable_thinking: false}``."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """What training and engine compute in. Merging is always fp32, rounded once. ``auto`` takes bfloat16 where the
    hardware has instructions for it and float32 elsewhere; a run keeps what it began with."""
    date: datetime.date = datetime.date(2026, 1, 1)
    """The date for chat templates that ask for today's date, so that prompts never depend on the day."""
