"""Conversations as training examples: token ids, and labels for the assistant's tokens only."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NotRequired

import torch

from cycleqd.faults import MendableFault
from cycleqd.messages import Message, images_of, refuse_images
from cycleqd.models.causal_lm.rendering import IMAGE, TEMPLATE_DATE, prefixes_a_space, template_text, tokens_of

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


class TooLong(MendableFault, ValueError):
    """No training conversation is short enough; the text says how long the shortest is, and which setting to raise."""


class Encoded(NamedTuple):
    """One conversation for training.

    Attributes:
        input_ids: Token ids of the whole conversation.
        labels: The same ids where the assistant speaks (its end-of-turn token included), `IGNORED` elsewhere
            and in turns that ask not to be trained.
        images: Names of the images, in the order of their places, each of which has `IMAGE` for an id.
    """

    input_ids: list[int]
    labels: list[int]
    images: tuple[str, ...] = ()


def with_room(row: Encoded, tokens: int) -> Encoded:
    """The row with `tokens` places for each image instead of one."""
    if not row.images:
        return row
    counts = [tokens if token == IMAGE else 1 for token in row.input_ids]
    ids = [token for token, count in zip(row.input_ids, counts, strict=True) for _ in range(count)]
    labels = [label for label, count in zip(row.labels, counts, strict=True) for _ in range(count)]
    return Encoded(ids, labels, row.images)


class Batch(NamedTuple):
    """Rows of one forward pass, padded on the right.

    Attributes:
        input_ids: (n, longest) int64. Causal attention keeps the padding out of what comes before it.
        labels: (n, longest) int64.
        tokens: Number of tokens without the padding.
        position_ids: (n, longest) int64, from 0 again where a packed row's next conversation begins; None where
            every row is one conversation.
        images: Names of all rows' images, in their order.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    tokens: int
    position_ids: torch.Tensor | None = None
    images: tuple[str, ...] = ()


def content_hash(conversations: Iterable[Conversation]) -> str:
    """Content hash of conversations in their order, which goes into the training's summary."""
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(json.dumps(list(conversation), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


class EncodedData(NamedTuple):
    """What is trained on.

    Attributes:
        rows: Examples: one of each conversation, or one of each assistant turn, see `encode`.
        left_out: Conversations left out, wholly or from a turn on, because they are too long.
    """

    rows: list[Encoded]
    left_out: int


def encode(
    tokenizer: Any, conversation: Conversation, ends: Sequence[int], *, date: datetime.date = TEMPLATE_DATE
) -> list[Encoded]:
    """Token ids and labels of a conversation under the tokenizer's chat template.

    Where the assistant speaks is found by rendering the conversation's prefixes. A conversation is one example where
    its rendering begins with the rendering of its beginning. Other templates show a turn differently once others
    follow (thoughts are left out of earlier turns, for one). There each assistant turn is an example of its own,
    behind exactly the tokens that an engine shows the model.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        conversation: Messages, at least one of them the assistant's and trained.
        ends: Token ids that end a turn.
        date: Today, as far as the template is concerned.

    Raises:
        ValueError: Nothing to train on, or a template under which the assistant's text cannot be told from the rest.
    """
    turns = [position for position, message in enumerate(conversation) if message["role"] == "assistant"]
    trained = [bool(conversation[position].get("trained", True)) for position in turns]
    if not any(trained):
        raise ValueError("a training conversation has no assistant turn to train on")

    def text(length: int, *, reply_follows: bool) -> str:
        return template_text(tokenizer, conversation[:length], reply_follows=reply_follows, date=date)

    spans = [(text(turn, reply_follows=True), text(turn + 1, reply_follows=False)) for turn in turns]
    done = ""
    for prompt, through in spans:
        if not (prompt.startswith(done) and through.startswith(prompt)):
            break
        done = through
    else:
        shown = tuple(images_of(conversation[: turns[-1] + 1]))
        return [_encode_spans(tokenizer, spans, trained, ends)._replace(images=shown)]
    single = {turn: span for turn, span, wanted in zip(turns, spans, trained, strict=True) if wanted}
    if not all(through.startswith(prompt) for prompt, through in single.values()):
        raise ValueError(
            "the chat template renders an assistant's turn differently from what opens it for a reply, so the "
            "assistant's tokens cannot be told from the others; use a template without such rewriting"
        )
    return [
        _encode_spans(tokenizer, [span], [True], ends)._replace(images=tuple(images_of(conversation[:turn])))
        for turn, span in single.items()
    ]


def _encode_spans(
    tokenizer: Any, spans: Sequence[tuple[str, str]], trained: Sequence[bool], ends: Sequence[int]
) -> Encoded:
    """One example; a span is the text up to a reply and the text through it, which the next span continues."""
    whole = tokens_of(tokenizer, spans[-1][1])
    ids: list[int] = []
    labels: list[int] = []
    pieces = _pieces(tokenizer, spans, whole)
    for (shown, said), wanted in zip(pieces, trained, strict=True):
        # Behind the end of the turn the template may write a line break, which no engine ever generates.
        last = max((index for index, token in enumerate(said) if token in ends), default=len(said) - 1)
        kept = last + 1 if wanted else 0
        ids += shown + said
        labels += [IGNORED] * len(shown) + said[:kept] + [IGNORED] * (len(said) - kept)
    if all(label == IGNORED for label in labels):
        raise ValueError("the chat template leaves out what the assistant says, so there is nothing to train on")
    return Encoded(ids, labels)


def _pieces(tokenizer: Any, spans: Sequence[tuple[str, str]], whole: list[int]) -> list[tuple[list[int], list[int]]]:
    """What is shown and what is said, turn by turn, as token ids.

    An engine shows the tokens of the whole text so far. Where these are a beginning of the tokens of the
    conversation, the conversation is cut there. Elsewhere a token reaches across the seam (a reply that starts with a
    line break). Then the pieces are tokenized one by one, so that the first reply follows what an engine shows. A
    tokenizer that puts a space in front of every text would change the pieces; for it the seams are found by the
    places of the tokens in the text.
    """
    cuts: list[int] = []
    for prompt, through in spans:
        for text in (prompt, through):
            ids = tokens_of(tokenizer, text)
            if whole[: len(ids)] != ids:
                break
            cuts.append(len(ids))
    if len(cuts) < 2 * len(spans):
        if not prefixes_a_space(tokenizer):
            done, pieces = "", []
            for prompt, through in spans:
                pieces.append(
                    (tokens_of(tokenizer, prompt[len(done) :]), tokens_of(tokenizer, through[len(prompt) :]))
                )
                done = through
            return pieces
        places = tokenizer(spans[-1][1], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        seams = [len(text) for span in spans for text in span]
        cuts = [sum(end <= seam for _, end in places) for seam in seams]
    bounds = [0, *cuts]
    parts = [whole[first:last] for first, last in itertools.pairwise(bounds)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def encode_all(
    tokenizer: Any,
    conversations: Sequence[Conversation],
    ends: Sequence[int],
    max_length: int,
    *,
    date: datetime.date = TEMPLATE_DATE,
    image_tokens: int | None = None,
) -> EncodedData:
    """Encodes conversations and leaves out, with a warning, what is longer than `max_length` tokens.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        conversations: What to encode.
        ends: Token ids that end a turn.
        max_length: In tokens.
        date: Today, as far as the chat template is concerned.
        image_tokens: Tokens that an image takes; None where none can be shown.

    Raises:
        ValueError: No conversations, or one shows an image, and that cannot be.
        TooLong: None is short enough.
    """
    if not conversations:
        raise ValueError("no training conversations: the skill's train split is empty")
    if image_tokens is None:
        for conversation in conversations:
            refuse_images(conversation, "training without a vision tower")
    examples = [
        [with_room(row, image_tokens or 1) for row in encode(tokenizer, conversation, ends, date=date)]
        for conversation in conversations
    ]
    rows = [row for each in examples for row in each]
    kept = [row for row in rows if len(row.input_ids) <= max_length]
    if not kept:
        shortest = min(len(row.input_ids) for row in rows)
        raise TooLong(
            f"all {len(conversations)} training conversations are longer than max_length={max_length} tokens "
            f"(the shortest has {shortest}): raise experts.max_length"
        )
    left_out = sum(any(len(row.input_ids) > max_length for row in each) for each in examples)
    if left_out:
        _log.warning("%d of %d conversations exceed max_length=%d: left out", left_out, len(examples), max_length)
    return EncodedData(kept, left_out)


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
    shown = tuple(image for row in rows for image in row.images)
    return Batch(torch.tensor(ids), torch.tensor(labels), sum(len(row.input_ids) for row in rows), images=shown)
