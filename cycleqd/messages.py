"""Chat messages, the one thing that skills, engines, training and records all speak of."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

# pydantic wants this one before Python 3.12.
from typing_extensions import TypedDict


class Message(TypedDict):
    """One chat message, in the form that a tokenizer's chat template takes."""

    role: Literal["system", "user", "assistant"]
    content: str


class TrainingMessage(Message):
    """A message of a data set that may ask not to be trained, as Agent-FLAN's ``loss`` does."""

    trained: NotRequired[bool]
    """False: an assistant's turn that is shown but not learned. Other roles are never trained."""


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
