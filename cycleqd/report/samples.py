"""Pages on which every model's verdict on the same sample stands in one row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from cycleqd.messages import visible
from cycleqd.report.templates import render
from cycleqd.run.records import EvaluationRecord, SampleScore

SOLVED = 1.0
"""The score of a solved sample; anything lower counts as failed."""


class _Cell(NamedTuple):
    score: str
    solved: bool
    reason: str
    href: str


class _Row(NamedTuple):
    sample: str
    anchor: str
    kind: str
    solved: int
    cells: list[_Cell | None]


def anchor(sample: str) -> str:
    """A sample's place on a page, whatever its id is made of."""
    return f"s-{hashlib.sha256(sample.encode()).hexdigest()[:12]}"


def samples_key(skill: str, split: str) -> str:
    """Where a page lies, relative to the report's folder."""
    return f"transcripts/samples-{skill}-{split}.html"


def samples_page(title: str, records: Mapping[str, EvaluationRecord], pages: Mapping[str, str]) -> str:
    """The samples that any model met, one a row.

    Args:
        title: Of the page.
        records: Evaluations of one skill and split by the model's name; at least one.
        pages: File names of the transcripts beside this page, by the model's name.
    """
    found: dict[str, dict[str, SampleScore]] = {}
    for model, record in records.items():
        for sample in record.samples:
            found.setdefault(sample.id, {})[model] = sample
    return render(
        "samples.html.j2",
        title=title,
        models=list(records),
        rows=[_row(sample, by_model, list(records), pages) for sample, by_model in found.items()],
    )


def _row(sample: str, by_model: Mapping[str, SampleScore], models: list[str], pages: Mapping[str, str]) -> _Row:
    solved = sum(score.score >= SOLVED for score in by_model.values())
    kind = "all" if solved == len(by_model) else "differ" if solved else "none"
    place = anchor(sample)
    cells = [
        _Cell(f"{one.score:.3g}", one.score >= SOLVED, visible(one.reason), f"{pages[model]}#{place}")
        if (one := by_model.get(model))
        else None
        for model in models
    ]
    return _Row(sample, place, kind, solved, cells)
