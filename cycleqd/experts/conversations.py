"""Conversations as training examples: token ids, and labels for the assistant's tokens only."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NotRequired

import torch
from datasets import Dataset

from cycleqd.messages import Message

IGNORED: Final = -100
"""Label of a token that is not trained; the value that torch's cross entropy skips."""

_SORTED_BATCHES: Final = 8
"""Batches are formed from length-sorted runs of so many batches: little padding, still well mixed."""

_log = logging.getLogger(__name__)


class TrainingMessage(Message):
    """A message of a data set that may ask not to be trained, as Agent-FLAN's ``loss`` does."""

    trained: NotRequired[bool]
    """False: an assistant's turn that is shown but not learned. Other roles are never trained."""


Conversation = Sequence[Message | TrainingMessage]
"""What one training example is made of."""


class Encoded(NamedTuple):
    """One conversation for training.

    Attributes:
        input_ids: Token ids of the whole conversation.
        labels: The same ids where the assistant speaks (its end-of-turn token included), `IGNORED` elsewhere
            and in turns that ask not to be trained.
    """

    input_ids: list[int]
    labels: list[int]


class Batch(NamedTuple):
    """Rows of one forward pass, padded on the right.

    Attributes:
        input_ids: (n, longest) int64. Causal attention keeps the padding out of what comes before it.
        labels: (n, longest) int64.
        tokens: Number of tokens without the padding.
        position_ids: (n, longest) int64, from 0 again where a packed row's next conversation begins; None where
            every row is one conversation.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    tokens: int
    position_ids: torch.Tensor | None = None


def content_hash(conversations: Iterable[Conversation]) -> str:
    """Content hash of conversations in their order, which goes into the training's summary."""
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(json.dumps(list(conversation), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def encode(tokenizer: Any, conversation: Conversation, ends: Sequence[int]) -> Encoded:
    """Token ids and labels of a conversation under the tokenizer's chat template.

    Where the assistant speaks is found by rendering the conversation's prefixes, so any template will do whose
    rendering of a conversation begins with the rendering of its beginning. The pieces are tokenized one by one: the
    first reply then follows exactly the tokens that an engine shows the model.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        conversation: Messages, at least one of them the assistant's and trained.
        ends: Token ids that end a turn.

    Raises:
        ValueError: Nothing to train on, or a template that rewrites what came before.
    """
    if not tokenizer.chat_template:
        raise ValueError("the base model's tokenizer has no chat template: use a chat (instruct) model, or set one")
    ids: list[int] = []
    labels: list[int] = []
    done = ""
    for position, message in enumerate(conversation):
        if message["role"] != "assistant":
            continue
        prompt = _template(tokenizer, conversation[:position], reply_follows=True)
        through = _template(tokenizer, conversation[: position + 1], reply_follows=False)
        if not (prompt.startswith(done) and through.startswith(prompt)):
            raise ValueError(
                "the chat template renders earlier turns differently once later ones follow, so the assistant's "
                "tokens cannot be told from the others; use a template without such rewriting"
            )
        shown, said = _tokens(tokenizer, prompt[len(done) :]), _tokens(tokenizer, through[len(prompt) :])
        # Behind the end of the turn the template may write a line break, which no engine ever generates.
        last = max((index for index, token in enumerate(said) if token in ends), default=len(said) - 1)
        kept = last + 1 if message.get("trained", True) else 0
        ids += shown + said
        labels += [IGNORED] * len(shown) + said[:kept] + [IGNORED] * (len(said) - kept)
        done = through
    if all(label == IGNORED for label in labels):
        raise ValueError("a training conversation has no assistant turn to train on")
    return Encoded(ids, labels)


def _template(tokenizer: Any, messages: Conversation, *, reply_follows: bool) -> str:
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    text: str = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=reply_follows)
    return text


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def build_dataset(
    tokenizer: Any, conversations: Sequence[Conversation], ends: Sequence[int], max_length: int
) -> Dataset:
    """Encodes conversations and leaves out, with a warning, those longer than `max_length` tokens.

    Returns:
        A data set with columns ``input_ids`` and ``labels``.

    Raises:
        ValueError: No conversations, or none short enough.
    """
    if not conversations:
        raise ValueError("no training conversations: the skill's train split is empty")
    rows = [encode(tokenizer, conversation, ends)._asdict() for conversation in conversations]
    kept = [row for row in rows if len(row["input_ids"]) <= max_length]
    if not kept:
        shortest = min(len(row["input_ids"]) for row in rows)
        raise ValueError(
            f"all {len(rows)} training conversations are longer than max_length={max_length} tokens "
            f"(the shortest has {shortest}): raise experts.max_length"
        )
    if left_out := len(rows) - len(kept):
        _log.warning("%d of %d conversations exceed max_length=%d: left out", left_out, len(rows), max_length)
    return Dataset.from_list(kept)


def schedule(lengths: Sequence[int], total: int, batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Deals out indices of conversations, epoch after epoch, in batches of alike lengths.

    Args:
        lengths: Tokens of each conversation.
        total: How many conversations to deal out in all; an epoch is ``len(lengths)`` of them.
        batch: Conversations a batch; the last one may be smaller.
        generator: Orders the conversations of each epoch and the batches.
    """
    dealt: list[int] = []
    while len(dealt) < total:
        dealt += torch.randperm(len(lengths), generator=generator).tolist()
    dealt = dealt[:total]
    run = batch * _SORTED_BATCHES
    for first in range(0, total, run):
        part = sorted(dealt[first : first + run], key=lambda index: lengths[index])
        batches = [part[start : start + batch] for start in range(0, len(part), batch)]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[position]


def collate(rows: Sequence[Encoded], padding: int) -> Batch:
    """Pads conversations on the right to the longest of them."""
    longest = max(len(row.input_ids) for row in rows)
    ids = [row.input_ids + [padding] * (longest - len(row.input_ids)) for row in rows]
    labels = [row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows]
    return Batch(torch.tensor(ids), torch.tensor(labels), sum(len(row.input_ids) for row in rows))
