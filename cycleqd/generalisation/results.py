"""Finished scores on disk, by what they depend on, and the table that is made of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cycleqd.generalisation.catalogue import TaskName
from cycleqd.generalisation.definitions import Benchmark, DataState
from cycleqd.generalisation.metric import Metric
from cycleqd.statistics import wilson

SCORES: Final = "scores"
TABLE_JSON: Final = "table3.json"
TABLE_MARKDOWN: Final = "table3.md"
_KEY_LETTERS: Final = 16


class BenchmarkScore(BaseModel):
    """A model's score on a benchmark.

    Attributes:
        model: The name that the model had when it was scored; another one may have the same weights.
        benchmark: The benchmark's name.
        fingerprint: Everything that the score depends on, part by part.
        score: Mean over the problems, in [0, 1]; of a task of the harness, its headline.
        problems: Score by problem, where a problem has one.
        data: Whether the problems are all of the benchmark's, a part, or a fixture.
        source: ``hub``, or the local files' names.
        seconds: Wall-clock seconds.
        metrics: Of a task of the harness that the table does not have itself: its own metrics, the headline first.
        tasks: Of a group of the harness: the headline of each of its tasks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    model: str
    benchmark: str
    fingerprint: dict[str, str]
    score: float
    problems: dict[str, float]
    data: DataState
    source: str
    seconds: float
    metrics: tuple[Metric, ...] = ()
    tasks: dict[str, Metric] = {}

    @model_validator(mode="after")
    def _is_a_mean_of_problems(self) -> BenchmarkScore:
        if not self.metrics and not (self.problems and 0.0 <= self.score <= 1.0):
            raise ValueError("a score in [0, 1] of at least one problem is expected")
        return self


def key_of(fingerprint: Mapping[str, str]) -> str:
    """What a score is kept by: SHA-256 (hex) over its fingerprint."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()


class Scores:
    """Finished scores in a folder.

    Args:
        folder: Made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / SCORES

    def find(self, benchmark: str, fingerprint: Mapping[str, str]) -> BenchmarkScore | None:
        """The score of this fingerprint; None where there is none, or its file is not whole."""
        end = f"{key_of(fingerprint)[:_KEY_LETTERS]}.json"
        for path in sorted((self._folder / _folder_of(benchmark)).glob(f"*{end}")):
            try:
                found = BenchmarkScore.model_validate_json(path.read_bytes())
            except ValidationError:
                continue
            if found.fingerprint == dict(fingerprint):
                return found
        return None

    def keep(self, score: BenchmarkScore) -> Path:
        """Writes a finished score, whole or not at all."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", score.model).strip("-.")[:60] or "model"
        name = f"{slug}-{key_of(score.fingerprint)[:_KEY_LETTERS]}.json"
        path = self._folder / _folder_of(score.benchmark) / name
        _write(path, score.model_dump_json(indent=1) + "\n")
        return path


def _folder_of(benchmark: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", benchmark).strip("-.") or "benchmark"


def table(
    rows: Mapping[str, Mapping[str, BenchmarkScore]], bases: Mapping[str, str], benchmarks: Sequence[Benchmark]
) -> dict[str, Any]:
    """What ``table3.json`` holds: scores in [0, 1] with 95 % intervals (Wilson).

    Args:
        rows: Scores by model and benchmark.
        bases: By model the row of its base, where that is known.
        benchmarks: In the table's order.

    Returns:
        ``{"rows": {model: {benchmark: {"score", "low", "high", "n", "of_base"}}}, "data": {benchmark: state}}``;
        ``of_base`` is the score as a multiple of the base's, null where there is no base or its score is 0. A task of
        the harness that the table does not have itself also has ``metric`` (whose score that is) and ``metrics`` (all
        of its own), and a group ``tasks``: by name ``{"score", "low", "high", "n"}``.
    """
    names = [benchmark.name for benchmark in benchmarks]
    states = {score.benchmark: score.data for scores in rows.values() for score in scores.values()}
    return {
        "rows": {
            model: {name: _cell(scores[name], _of(rows, bases.get(model), name)) for name in names if name in scores}
            for model, scores in rows.items()
        },
        "data": {name: states[name] for name in names if name in states},
    }


def markdown(
    content: Mapping[str, Any],
    benchmarks: Sequence[Benchmark | TaskName],
    reasons: Mapping[str, str],
    remarks: Sequence[str] = (),
) -> str:
    """The table for people: a row a benchmark, a column a model.

    Args:
        content: As `table` returns it.
        benchmarks: In the table's order.
        reasons: By benchmark, why it was not scored.
        remarks: Further sentences, without their full stops.
    """
    models = list(content["rows"])
    lines = [["benchmark", "shots", "data", "n", *map(_plain, models)]]
    for benchmark in benchmarks:
        name = benchmark.name
        if name not in content["data"] or isinstance(benchmark, TaskName):
            continue
        cells = [content["rows"][model].get(name) for model in models]
        n = max(cell["n"] for cell in cells if cell)
        title = _plain(", ".join([benchmark.title, *sorted(_headlines(cells))]))
        lines.append([title, str(benchmark.shots), content["data"][name], str(n), *map(_shown, cells)])
        lines += _inner_rows(benchmark, cells)
    means = [_mean_of_base(content["rows"][model]) for model in models]
    if any(mean is not None for mean in means):
        lines.append(["mean of score / base", "", "", "", *("" if mean is None else f"{mean:.3f}" for mean in means)])
    rule = ["---", "---:", "---", "---:", *["---:"] * len(models)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))
    notes = [
        "Scores are percentages with 95 % intervals (Wilson). Multiples of the base's score follow, if it is known.",
        "Data: `full` is the whole benchmark, `part` some of its problems, `fixture` so few that they show its form.",
    ]
    if any("metric" in cell for row in content["rows"].values() for cell in row.values()):
        notes.append(
            "A task of lm-evaluation-harness is shown by its first metric; rows that begin with · are its others, or "
            "the tasks of a group. What is no share of problems stands as the harness gives it, with a bootstrap "
            "interval."
        )
    absent = [f"Not scored: {benchmarks_title(benchmarks, name)}: {reason}." for name, reason in reasons.items()]
    return "\n\n".join([text, *notes, *absent, *(f"{remark}." for remark in remarks)]) + "\n"


def write_table(folder: Path, content: Mapping[str, Any], text: str) -> None:
    """Writes both forms of the table."""
    _write(folder / TABLE_JSON, json.dumps(content, indent=1) + "\n")
    _write(folder / TABLE_MARKDOWN, text)


def benchmarks_title(benchmarks: Sequence[Benchmark | TaskName], name: str) -> str:
    """A benchmark's title by its name."""
    return next((benchmark.title for benchmark in benchmarks if benchmark.name == name), name)


def _of(rows: Mapping[str, Mapping[str, BenchmarkScore]], base: str | None, name: str) -> float | None:
    found = rows.get(base, {}).get(name) if base else None
    return found.score if found else None


def _cell(score: BenchmarkScore, base: float | None) -> dict[str, Any]:
    if score.metrics:
        return _cell_of_metrics(score, base)
    n = len(score.problems)
    low, high = wilson(score.score, n)
    return {"score": score.score, "low": low, "high": high, "n": n, "of_base": score.score / base if base else None}


def _cell_of_metrics(score: BenchmarkScore, base: float | None) -> dict[str, Any]:
    head = score.metrics[0]
    measured_by_base = base and head.share and head.higher_is_better
    cell: dict[str, Any] = _numbers(head) | {"of_base": head.value / base if measured_by_base and base else None}
    cell |= {"metric": head.name, "metrics": {metric.name: _numbers(metric) for metric in score.metrics}}
    return cell | ({"tasks": {name: _numbers(metric) for name, metric in score.tasks.items()}} if score.tasks else {})


def _numbers(metric: Metric) -> dict[str, Any]:
    ends = {"low": metric.low, "high": metric.high}
    known = {name: value if value is not None and math.isfinite(value) else None for name, value in ends.items()}
    return {"score": metric.value if math.isfinite(metric.value) else None, **known, "n": metric.n} | (
        {} if metric.share else {"percent": False}
    )


def _inner_rows(benchmark: Benchmark, cells: Sequence[Mapping[str, Any] | None]) -> list[list[str]]:
    """Further rows of a task of the harness: its other metrics, and the tasks of a group."""
    rows = []
    for part in ("metrics", "tasks"):
        names = dict.fromkeys(name for cell in cells if cell for name in cell.get(part, ()))
        for name in [name for name in names if part == "tasks" or name not in _headlines(cells)]:
            inner = [cell.get(part, {}).get(name) if cell else None for cell in cells]
            n = max(cell["n"] for cell in inner if cell)
            title = f"· {name}" if part == "tasks" else f"· {benchmark.title}: {name}"
            rows.append([_plain(title), "", "", str(n), *map(_shown, inner)])
    return rows


def _headlines(cells: Sequence[Mapping[str, Any] | None]) -> set[str]:
    return {cell["metric"] for cell in cells if cell and "metric" in cell}


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None or cell["score"] is None:
        return "–"
    of_base = "" if cell.get("of_base") is None else f" / {cell['of_base']:.2f}"
    if cell.get("percent", True):
        return f"{100 * cell['score']:.1f} ({100 * cell['low']:.0f}–{100 * cell['high']:.0f}){of_base}"
    known = cell["low"] is not None and cell["high"] is not None
    return f"{cell['score']:.4g}" + (f" ({cell['low']:.4g}–{cell['high']:.4g})" if known else "") + of_base


def _mean_of_base(row: Mapping[str, Mapping[str, Any]]) -> float | None:
    shares = [cell["of_base"] for cell in row.values() if cell["of_base"] is not None]
    return sum(shares) / len(shares) if shares else None


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(text, encoding="utf-8")
    staging.replace(path)
