"""Chat messages, the one thing that skills, engines, training and records all speak of."""

from __future__ import annotations

from typing import Literal

# pydantic wants this one before Python 3.12.
from typing_extensions import TypedDict


class Message(TypedDict):
    """One chat message, in the form that a tokenizer's chat template takes."""

    role: Literal["system", "user", "assistant"]
    content: str
