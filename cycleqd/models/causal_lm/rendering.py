"""Conversations as token ids, the same way for training and for every engine."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from cycleqd.messages import Message, refuse_images, whole_text

TEMPLATE_DATE: Final = datetime.date(2026, 1, 1)
"""What a chat template is told that asks for today's date: prompts must not change from one day to the next."""

IMAGE: Final = -200
"""In place of a token id: here stands an image. LLaVA's own code uses the same number."""
_MARK: Final = "\ufdd0"
"""Stands for an image in a rendered text. Unicode keeps this code point for such uses; texts that hold it lose it."""
_PROBE: Final = "0123 instructions 4567"
_folding: WeakKeyDictionary[Any, tuple[str, bool]] = WeakKeyDictionary()


def load_tokenizer(folder: Path | str) -> Any:
    """A checkpoint's tokenizer; code that the checkpoint brings along is never run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def template_text(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    reply_follows: bool,
    date: datetime.date = TEMPLATE_DATE,
) -> str:
    """A conversation under the tokenizer's chat template.

    The system's text becomes part of the first user turn where the template has no place for it.

    Args:
        tokenizer: A transformers tokenizer.
        messages: The conversation; what messages hold besides role, content and image is not shown.
        reply_follows: Whether to end with what opens an assistant's turn.
        date: Today, as far as the template is concerned.

    Raises:
        ValueError: The tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError("the base model's tokenizer has no chat template: use a chat (instruct) model, or set one")
    # Whatever a data file or a skill of another package holds, the tokenizer takes whole text only.
    plain = [{"role": str(m["role"]), "content": _content(m)} for m in messages]
    if plain and plain[0]["role"] == "system" and _folds_system(tokenizer):
        plain = _folded(plain)
    return _apply(tokenizer, plain, reply_follows=reply_follows, date=date)


def _content(message: Mapping[str, Any]) -> str:
    text = whole_text(str(message["content"])).replace(_MARK, "\ufffd")
    return f"{_MARK}\n{text}" if message.get("image") else text


def render(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    reply_follows: bool,
    date: datetime.date = TEMPLATE_DATE,
    images: bool = False,
) -> list[int]:
    """Token ids of a conversation under the tokenizer's chat template; see `template_text`.

    Args:
        tokenizer: A transformers tokenizer.
        messages: The conversation.
        reply_follows: Whether to end with what opens an assistant's turn.
        date: Today, as far as the template is concerned.
        images: Whether the caller can show images; the id `IMAGE` stands for each.

    Raises:
        ValueError: The tokenizer has no chat template; or the conversation shows an image, and that cannot be.
    """
    if not images:
        refuse_images(messages, "this engine")
    return tokens_of(tokenizer, template_text(tokenizer, messages, reply_follows=reply_follows, date=date))


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a rendered text, `IMAGE` for each image.

    The template has written the special tokens; no others are added.

    Raises:
        ValueError: There is an image, and the tokenizer puts a space in front of every text.
    """
    before, *parts = text.split(_MARK)
    ids: list[int] = tokenizer(before, add_special_tokens=False)["input_ids"]
    if parts and prefixes_a_space(tokenizer):
        raise ValueError("the tokenizer puts a space in front of every text, so no image can stand inside one")
    for part in parts:
        ids += [IMAGE, *tokenizer(part, add_special_tokens=False)["input_ids"]]
    return ids


def prefixes_a_space(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a space in front of every text, as SentencePiece's may."""
    ids = tokenizer("x", add_special_tokens=False)["input_ids"]
    return bool(ids) and str(tokenizer.convert_ids_to_tokens(ids)[0]).startswith("\u2581")


def _apply(tokenizer: Any, messages: list[dict[str, str]], *, reply_follows: bool, date: datetime.date) -> str:
    def strftime_now(pattern: str) -> str:
        return datetime.datetime.combine(date, datetime.time()).strftime(pattern)

    # A variable of this name goes before the function of transformers, which tells the time of the machine.
    text: str = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=reply_follows, strftime_now=strftime_now
    )
    return text


def _folds_system(tokenizer: Any) -> bool:
    """Whether the template refuses a system's turn, or leaves out its text. Found out once a template."""
    known = _folding.get(tokenizer)
    if known is not None and known[0] == str(tokenizer.chat_template):
        return known[1]
    messages = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "hello"}]
    try:
        folds = _PROBE not in _apply(tokenizer, messages, reply_follows=True, date=TEMPLATE_DATE)
    except Exception:  # whatever a template raises; without a system's turn it will show whether it is fit at all
        folds = True
    _folding[tokenizer] = str(tokenizer.chat_template), folds
    return folds


def _folded(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    first = {"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}
    return [first, *rest[1:]]


def end_tokens(tokenizer: Any, base: Path) -> tuple[int, ...]:
    """Token ids that end a reply, sorted.

    They are the tokenizer's, those of the model's generation settings, and the one that the chat template writes
    behind an assistant's turn.
    """
    ends = {tokenizer.eos_token_id}
    for file in (base / "generation_config.json", base / "config.json"):
        if file.is_file():
            found = json.loads(file.read_text()).get("eos_token_id")
            ends |= set(found) if isinstance(found, list) else {found}
    ends.add(_end_of_turn(tokenizer))
    return tuple(sorted(ends - {None}))


def _end_of_turn(tokenizer: Any) -> int | None:
    """The special token that the chat template writes right behind what the assistant said, if it is one."""
    if not tokenizer.chat_template:
        return None
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": _PROBE}]
    try:
        text = template_text(tokenizer, messages, reply_follows=False)
    except Exception:  # whatever a template raises: whoever renders a real conversation is told
        return None
    _, found, behind = text.rpartition(_PROBE)
    ids = tokens_of(tokenizer, behind.lstrip()) if found else []
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids + _added_special(tokenizer) else None


def _added_special(tokenizer: Any) -> list[int]:
    return [token for token, added in tokenizer.added_tokens_decoder.items() if added.special]
