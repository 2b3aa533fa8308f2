"""Scores of answers where the harness' own metric cannot be had offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

UNANSWERABLE: Final = "unanswerable"
"""What a model is to say to a question that its passage does not answer."""


def squad2(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of SQuAD 2.0 (Rajpurkar 2018, https://arxiv.org/abs/1806.03822).

    Answers are compared as its official script does: in lower case, without punctuation and articles, with the best of
    the given answers. Who says ``unanswerable`` gives no answer.

    Args:
        doc: The question, with ``answers.text``, empty where there is no answer.
        results: The reply, alone.
    """
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer

    reply = "" if normalize_answer(results[0]) == UNANSWERABLE else results[0]
    answers = [text for text in doc["answers"]["text"] if normalize_answer(text)] or [""]
    return {
        "exact": float(max(compute_exact(answer, reply) for answer in answers)),
        "f1": float(max(compute_f1(answer, reply) for answer in answers)),
    }


SCORERS: Final[Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], dict[str, float]]]] = {"squad2": squad2}
"""By name."""
