"""Log-probabilities of given tokens under a transformers model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch

from cycleqd.models.causal_lm.protocol import Continuation, Likelihood

_MOST_TOKENS: Final = 16_384
"""Of one batch, padding included: larger ones take memory and are no faster."""


@torch.inference_mode()
def log_likelihoods(model: Any, requests: Sequence[Continuation], *, max_batch: int) -> list[Likelihood]:
    """Sums of log-probabilities, taken in fp32, in the order of the requests.

    Requests that differ in their last token alone (the letters of a multiple choice) share a row.

    Args:
        model: A causal language model.
        requests: Each with at least one token of context and of continuation, and short enough for the model.
        max_batch: Most rows in one call of the model.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        rows.setdefault((*request.context, *request.tokens[:-1]), []).append(index)
    found: dict[int, Likelihood] = {}
    # The longest first: if memory does not suffice, this shows at once.
    for batch in _batches(sorted(rows, key=len, reverse=True), max_batch):
        width = len(batch[0])
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=model.device)
        # Padding stands on the right, where no token that counts attends to it: no mask is needed.
        wanted = sorted({spot for row in batch for index in rows[row] for spot in _spots(requests[index], row)})
        logits = _logits(model, ids, torch.tensor(wanted, device=model.device))
        place = {spot: position for position, spot in enumerate(wanted)}
        for row, scores in zip(batch, logits, strict=True):
            for index in rows[row]:
                tokens = torch.tensor(requests[index].tokens, device=model.device)
                these = scores[[place[spot] for spot in _spots(requests[index], row)]].float()
                chosen = these.log_softmax(-1).gather(-1, tokens[:, None])
                found[index] = Likelihood(float(chosen.sum()), bool((these.argmax(-1) == tokens).all()))
    return [found[index] for index in range(len(requests))]


def _spots(request: Continuation, row: tuple[int, ...]) -> range:
    """Where the row's logits predict the continuation's tokens."""
    return range(len(row) - len(request.tokens), len(row))


def _batches(rows: Sequence[tuple[int, ...]], max_batch: int) -> Iterator[Sequence[tuple[int, ...]]]:
    first = 0
    while first < len(rows):
        size = max(1, min(max_batch, _MOST_TOKENS // len(rows[first])))
        yield rows[first : first + size]
        first += size


def _logits(model: Any, ids: torch.Tensor, wanted: torch.Tensor) -> Any:
    """Logits at some positions only: all of a long batch's would take gigabytes."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(ids, logits_to_keep=wanted, use_cache=False).logits
    return model(ids, use_cache=False).logits[:, wanted]
