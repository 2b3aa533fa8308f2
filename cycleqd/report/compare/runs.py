"""One run of several that are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cycleqd.report.history import History, replay
from cycleqd.report.summary import Summary, evaluations, summarise
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.store import RunStore

PLACE = ("run_id", "storage", "trackers")
"""Settings that say where a run lies and who gets its numbers; they change nothing of what it does."""


@dataclass(frozen=True, slots=True)
class Curves:
    """How a search went on the optimization split: values after every generation, that of the experts alone first.

    Attributes:
        best: Highest mean over all skills of any individual in any archive.
        mean: Mean over all skills, averaged over the individuals of all archives.
        skills: Highest score in its own skill, per archive.
        filled: Occupied cells of all archives, as a share of all their cells.
    """

    best: tuple[float, ...]
    mean: tuple[float, ...]
    skills: Mapping[str, tuple[float, ...]]
    filled: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run, finished or not.

    Attributes:
        label: What it is called here.
        summary: Its figures.
        curves: Its search.
        settings: Its settings as texts by dotted path, the place of the run left out.
        final: The final model's evaluations on the test split by skill; empty while one of them is missing.
    """

    label: str
    summary: Summary
    curves: Curves
    settings: Mapping[str, str]
    final: Mapping[str, EvaluationRecord]


def read_run(store: RunStore, label: str | None = None) -> Run:
    """A run as far as it has got; writes nothing.

    Args:
        store: The run.
        label: What it is called; its id unless given.

    Raises:
        StoreError: There is no such run, or its records cannot be read.
        ConfigError: Its configuration cannot be read.
    """
    history = replay(store)
    summary = summarise(store, history)
    final: dict[str, EvaluationRecord] = {}
    if summary.mean("test", "cycleqd") is not None:
        found = evaluations(store, summary.skills, {"cycleqd": summary.genomes["cycleqd"]})
        final = {skill: found["test", "cycleqd", skill] for skill in summary.skills}
    settings = store.config().model_dump(mode="json", exclude=set(PLACE))
    return Run(label or store.run_id, summary, _curves(history), _flat(settings), final)


def _curves(history: History) -> Curves:
    cells = sum(history.capacity.values())
    return Curves(
        best=tuple(state.best_overall for state in history.progress),
        mean=tuple(state.mean_overall for state in history.progress),
        skills={skill: tuple(state.best[skill] for state in history.progress) for skill in history.skills},
        filled=tuple(sum(state.filled.values()) / cells for state in history.progress),
    )


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Settings by dotted path. Items of a list go by their name where they have one, so that order does not matter."""
    if isinstance(value, dict) and value:
        return {key: text for name, inner in value.items() for key, text in _flat(inner, f"{path}.{name}").items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        named = {str(item.get("name") or item.get("method") or number): item for number, item in enumerate(value)}
        if len(named) == len(value):
            return _flat(named, path)
    return {path.removeprefix("."): value if isinstance(value, str) else json.dumps(value)}
