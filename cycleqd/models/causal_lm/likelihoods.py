"""Log-probabilities of given tokens under a transformers model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple

import torch

from cycleqd.models.causal_lm.protocol import Continuation, Likelihood

_MOST_TOKENS: Final = 16_384
"""Of one batch, what its rows share and padding included: keys and values of all of them are in memory at once."""
_LEAST_SHARED: Final = 16
"""Tokens; to compute fewer of them once is not worth a call of the model."""


class _Row(NamedTuple):
    """What goes through the model: context and continuations but for their last token.

    Attributes:
        tokens: Token ids.
        requests: Numbers of the requests that it answers.
        first: Least position whose logits are wanted.
    """

    tokens: tuple[int, ...]
    requests: list[int]
    first: int


class _Batch(NamedTuple):
    """Rows that begin with the same `shared` tokens."""

    rows: list[_Row]
    shared: int


@torch.inference_mode()
def log_likelihoods(model: Any, requests: Sequence[Continuation], *, max_batch: int) -> list[Likelihood]:
    """Sums of log-probabilities, taken in fp32, in the order of the requests.

    What several requests begin with (solved examples, a question with its choices) is computed once for all of them.
    Requests that differ in their last token alone (the letters of a multiple choice) are one row.

    Args:
        model: A causal language model.
        requests: Each with at least one token of context and of continuation, and short enough for the model.
        max_batch: Most rows in one call of the model.
    """
    found: dict[int, Likelihood] = {}
    for batch in _batches(_rows(requests), max_batch):
        shared, rest = batch.shared, [row.tokens[batch.shared :] for row in batch.rows]
        width = max(map(len, rest))
        # Padding stands on the right, where no token that counts attends to it: no mask is needed.
        ids = torch.tensor([[*tokens, *[0] * (width - len(tokens))] for tokens in rest], device=model.device)
        spots = {
            (row, index): range(len(batch.rows[row].tokens) - len(requests[index].tokens), len(batch.rows[row].tokens))
            for row in range(len(rest))
            for index in batch.rows[row].requests
        }
        wanted = sorted({spot - shared for places in spots.values() for spot in places})
        past = _past(model, batch)
        logits = _logits(model, ids, torch.tensor(wanted, device=model.device), past)
        place = {spot + shared: position for position, spot in enumerate(wanted)}
        for (row, index), places in spots.items():
            tokens = torch.tensor(requests[index].tokens, device=model.device)
            scores = logits[row, [place[spot] for spot in places]].float()
            chosen = scores.log_softmax(-1).gather(-1, tokens[:, None])
            found[index] = Likelihood(float(chosen.sum()), bool((scores.argmax(-1) == tokens).all()))
    return [found[index] for index in range(len(requests))]


def _rows(requests: Sequence[Continuation]) -> list[_Row]:
    """The different rows, sorted: what begins alike stands together."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        rows.setdefault((*request.context, *request.tokens[:-1]), []).append(index)
    return [
        _Row(tokens, numbers, min(len(tokens) - len(requests[index].tokens) for index in numbers))
        for tokens, numbers in sorted(rows.items())
    ]


def _batches(rows: Sequence[_Row], max_batch: int) -> Iterator[_Batch]:
    """Cuts sorted rows where a batch would be too large, or where sharing less costs more than it saves."""
    batch: list[_Row] = []
    shared = longest = 0
    for row, following in zip(rows, [*rows[1:], None], strict=False):
        common = min(shared, row.first, _common(batch[0].tokens, row.tokens)) if batch else row.first
        length = max(longest, len(row.tokens))
        # A row that joins loses `shared - common` tokens for each of the others, and gains `common`.
        worth = (len(batch) - 1) * (shared - common) <= common or shared < _LEAST_SHARED
        if common < _LEAST_SHARED and following and _common(row.tokens, following.tokens) >= _LEAST_SHARED:
            worth = False
        if batch and (not worth or len(batch) == max_batch or (len(batch) + 1) * length > _MOST_TOKENS):
            yield _Batch(batch, _shared(batch, shared))
            batch, common, length = [], row.first, len(row.tokens)
        batch, shared, longest = [*batch, row], common, length
    if batch:
        yield _Batch(batch, _shared(batch, shared))


def _shared(batch: Sequence[_Row], shared: int) -> int:
    return shared if len(batch) > 1 and shared >= _LEAST_SHARED else 0


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _past(model: Any, batch: _Batch) -> Any:
    """Keys and values of what the rows share, once a row; None where they share nothing."""
    if not batch.shared:
        return None
    ids = torch.tensor([batch.rows[0].tokens[: batch.shared]], device=model.device)
    last = torch.tensor([batch.shared - 1], device=model.device)
    options = {"logits_to_keep": last} if _keeps(model) else {}
    past = model(ids, use_cache=True, **options).past_key_values
    past.batch_repeat_interleave(len(batch.rows))
    return past


def _logits(model: Any, ids: torch.Tensor, wanted: torch.Tensor, past: Any) -> Any:
    """Logits at some positions only: all of a long batch's would take gigabytes."""
    options = {"past_key_values": past, "use_cache": True} if past is not None else {"use_cache": False}
    if _keeps(model):
        return model(ids, logits_to_keep=wanted, **options).logits
    return model(ids, **options).logits[:, wanted]


def _keeps(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters
