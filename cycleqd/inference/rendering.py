"""Conversations as token ids, the same way for training and for every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cycleqd.messages import Message, whole_text


def render(tokenizer: Any, messages: Sequence[Message], *, reply_follows: bool) -> list[int]:
    """Token ids of a conversation under the tokenizer's chat template.

    Args:
        tokenizer: A transformers tokenizer.
        messages: The conversation.
        reply_follows: Whether to end with the tokens that open an assistant's turn.

    Raises:
        ValueError: The tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError("the base model's tokenizer has no chat template: use a chat (instruct) model, or set one")
    # Whatever a data file or a skill of another package holds, the tokenizer takes whole text only.
    whole = [{**message, "content": whole_text(message["content"])} for message in messages]
    text = tokenizer.apply_chat_template(whole, tokenize=False, add_generation_prompt=reply_follows)
    # The template has already written the special tokens; adding them again would double the first.
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_tokens(tokenizer: Any, base: Path) -> tuple[int, ...]:
    """Token ids that end a reply: the tokenizer's and those of the model's generation settings, sorted."""
    ends = {tokenizer.eos_token_id}
    for file in (base / "generation_config.json", base / "config.json"):
        if file.is_file():
            found = json.loads(file.read_text()).get("eos_token_id")
            ends |= set(found) if isinstance(found, list) else {found}
    return tuple(sorted(ends - {None}))
