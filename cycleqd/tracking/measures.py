"""What a run measures, as rows for trackers: one name per metric.

============================== ===================== =========================================================
name                           step                  value
============================== ===================== =========================================================
``expert/<skill>/loss``        optimizer step        training loss, nats a trained token
``expert/<skill>/validation_loss`` optimizer step    loss on held-out conversations, where there are some
``child/<skill>``              generation            score of the generation's child in [0, 1]; ``child/mean``
``best/<skill>``               generation            best score in that skill's archive; ``best/mean`` of anybody
``archive/<skill>/mean``       generation            mean score in that skill's archive
``archive/<skill>/cells``      generation            occupied cells
``seconds/<phase>``            generation            wall-clock seconds; ``seconds/total``
``work/<activity>``            generation            the same seconds, activity by activity, where they were measured
``test/<row>/<skill>``         finished generations  score on the test split; ``mean``, and ``mean_low`` and
                                                     ``mean_high``, the ends of its 95 % interval
============================== ===================== =========================================================

A ``<row>`` is a row of the report: ``cycleqd`` (the final model), ``average``, ``expert-<skill>``, ``elite-<skill>``,
``baseline-<label>``, ``base``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cycleqd.experts import TrainingSummary
from cycleqd.report.history import Progress
from cycleqd.report.summary import Summary
from cycleqd.run.records import GenerationRecord, Score
from cycleqd.tracking.protocol import Row


def metric(*parts: str) -> str:
    """A name that all trackers take as it is: letters, digits, ``_``, ``-``, ``.`` and slashes between the parts."""
    return "/".join(re.sub(r"[^A-Za-z0-9_.-]+", "-", part) for part in parts)


def losses(name: str, summary: TrainingSummary) -> list[Row]:
    """The losses of an expert's training.

    Args:
        name: The skill, or `cycleqd.run.names.ALL_DATA` or `REFINED`.
        summary: Of its training; one of an older version has no losses.
    """
    rows = [Row(step, {metric("expert", name, "loss"): loss}) for step, loss in enumerate(summary.losses, start=1)]
    return rows + [Row(step, {metric("expert", name, "validation_loss"): x}) for step, x in summary.validation_losses]


def generation(record: GenerationRecord, progress: Progress) -> Row:
    """A generation.

    Args:
        record: Its commit record.
        progress: The archives after it.
    """
    scores = [score.score for score in record.scores.values()]
    values = {metric("child", skill): score.score for skill, score in record.scores.items()}
    values["child/mean"] = math.fsum(scores) / len(scores)
    for skill, best in progress.best.items():
        values[metric("best", skill)] = best
        values[metric("archive", skill, "mean")] = progress.mean[skill]
        values[metric("archive", skill, "cells")] = progress.filled[skill]
    values["best/mean"] = progress.best_overall
    values |= {metric("seconds", phase): seconds for phase, seconds in record.seconds.model_dump().items()}
    values["seconds/total"] = record.seconds.total
    if record.split is not None:
        values |= {metric("work", activity): seconds for activity, seconds in record.split.seconds.items()}
    return Row(record.generation, values)


def final(summary: Summary) -> Row:
    """The scores on the test split."""
    values: dict[str, float] = {}
    intervals = summary.intervals.get("test", {})
    for row, scores in summary.splits.get("test", {}).items():
        for skill, score in scores.items():
            values[metric("test", row, skill)] = score.score if isinstance(score, Score) else score
        if "mean" in scores and (interval := intervals.get(row, {}).get("mean")):
            values[metric("test", row, "mean_low")], values[metric("test", row, "mean_high")] = interval
    return Row(summary.generations, values)


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings by path, ``skills.0.train``; what is not set is left out."""
    return {path: text for path, text in _flat(settings, "") if text}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield path, "" if value is None else str(value)
        return
    for key, inner in items:
        yield from _flat(inner, f"{path}.{key}" if path else str(key))
