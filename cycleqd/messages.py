"""Chat messages, the one thing that skills, engines, training and records all speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NotRequired

# pydantic wants this one before Python 3.12.
from typing_extensions import TypedDict

# Also what a terminal takes for the end of a line, or for another direction of writing, and halves of surrogate pairs.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Message(TypedDict):
    """One chat message, in the form that a tokenizer's chat template takes."""

    role: Literal["system", "user", "assistant"]
    content: str
    image: NotRequired[str]
    """Names an image that stands ahead of the text, as ``skill/...``; the skill finds it."""


def images_of(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the images that a conversation shows, in their order."""
    return [str(message["image"]) for message in messages if message.get("image")]


def as_text(message: Mapping[str, Any]) -> str:
    """A message to read, with the name of its image where it shows one."""
    return f"[image {message['image']}]\n{message['content']}" if message.get("image") else str(message["content"])


def refuse_images(messages: Iterable[Mapping[str, Any]], who: str) -> None:
    """Refuses a conversation that shows images.

    Raises:
        ValueError: It does, and `who` takes text only.
    """
    if images := images_of(messages):
        raise ValueError(f"{who} takes text only, and the conversation shows {images[0]}: set model.vision in a run")


def whole_text(text: str) -> str:
    """The text with every half of a surrogate pair replaced by U+FFFD; two halves that belong together are joined.

    Python and JSON can spell such halves, e.g. of an emoji that a length limit cut. No tokenizer, file or terminal
    takes them, so they are replaced where text comes in: from an engine, an endpoint or a data file.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_texts(data: Any) -> Any:
    """Plain data as JSON gives it, with every text in it as `whole_text`."""
    if isinstance(data, str):
        return whole_text(data)
    if isinstance(data, list):
        return [whole_texts(item) for item in data]
    if isinstance(data, dict):
        return {whole_texts(key): whole_texts(item) for key, item in data.items()}
    return data


def visible(text: str) -> str:
    """The text with control characters spelt out in hexadecimal: a model must not drive the terminal."""
    return _CONTROL.sub(_spelt, text.replace("\r\n", "\n"))


def _spelt(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
