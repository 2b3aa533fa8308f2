"""Reference models: any model measured on the skills that runs are measured on, in the same table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cycleqd.evaluation.play import Evaluation
from cycleqd.report.tables import TextTable, scored, with_interval
from cycleqd.run.records import Score, pack_episodes
from cycleqd.statistics import Interval, interval_of_mean

BOTH = "all"
"""In the place of a split's name: both were played."""


class DataIdentity(BaseModel):
    """Which samples a score is about; the fields are those of `EvaluationRecord`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_hash: str
    data_version: str
    data_sha256: str
    prompt: str
    skipped: int
    max_turns: int | None = None


class ModelSummary(BaseModel):
    """What ``summary.json`` of an evaluated model holds; fields of a run's `Summary` mean what they mean there.

    Attributes:
        model: The model's name, its row in `splits`.
        source: The endpoint's URL or the checkpoint's folder.
        genomes: Content hash of the checkpoint's weights, or the endpoint's model and host, by row. The key
            on disk is ``identities``.
        intervals: The 95 % interval of each score and ``mean``, per split and row.
        extra: Other verdicts on the same episodes (MBPP+'s plus tests), by skill and name.
        data: Which samples were played, by skill.
        wall_seconds: Wall-clock seconds by skill.
        tokens: Tokens generated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    model: str
    source: str
    skills: list[str]
    splits: dict[str, dict[str, dict[str, Score | float]]]
    mean_se: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, dict[str, Interval]]] = {}
    genomes: dict[str, str] = Field(alias="identities")
    extra: dict[str, dict[str, Score]]
    data: dict[str, DataIdentity]
    wall_seconds: dict[str, float]
    tokens: int
    versions: dict[str, str]


def summarise_model(
    model: str, source: str, evaluations: Sequence[Evaluation], versions: dict[str, str]
) -> ModelSummary:
    """The figures of a model's evaluations, all on one split and each on another skill."""
    records = [evaluation.record for evaluation in evaluations]
    split = records[0].split
    scores: dict[str, Score | float] = {record.skill: record.score for record in records}
    scores["mean"] = sum(record.score.score for record in records) / len(records)
    # The skills' samples are independent.
    se = math.sqrt(sum(record.score.se**2 for record in records)) / len(records)
    intervals = {record.skill: record.score.interval for record in records}
    intervals["mean"] = interval_of_mean([(record.score.score, record.score.n) for record in records])
    return ModelSummary(
        model=model,
        source=source,
        skills=[record.skill for record in records],
        splits={split: {model: scores}},
        mean_se={split: {model: se}},
        intervals={split: {model: intervals}},
        genomes={model: records[0].genome},
        extra={record.skill: record.beside for record in records},
        data={
            record.skill: DataIdentity(**{name: getattr(record, name) for name in DataIdentity.model_fields})
            for record in records
        },
        wall_seconds={record.skill: record.seconds for record in records},
        tokens=sum(record.tokens for record in records),
        versions=versions,
    )


def model_table(summary: ModelSummary) -> TextTable:
    """The model's score per skill, as a run's report shows them; other verdicts beside it, not in the mean."""
    ((split, rows),) = summary.splits.items()
    scores = rows[summary.model]
    header, cells = ["model"], [summary.model]
    for skill in summary.skills:
        score = scores[skill]
        if isinstance(score, Score):
            header.append(f"{skill} (n {score.n})")
            cells.append(scored(score))
        for name, other in summary.extra[skill].items():
            header.append(f"{skill} {name} (n {other.n})")
            cells.append(scored(other))
    mean = scores["mean"]
    if isinstance(mean, float):
        cells.append(with_interval(mean, summary.intervals[split][summary.model]["mean"]))
    played = "both splits" if split == BOTH else f"the {split} split"
    return TextTable(f"Scores on {played}, %", (*header, "mean"), (tuple(cells),))


def write_model(out: Path, summary: ModelSummary, evaluations: Sequence[Evaluation]) -> None:
    """Writes each evaluation's record and episodes, as a run keeps them, and the summary last."""
    out.mkdir(parents=True, exist_ok=True)
    for record, episodes, files in evaluations:
        stem = out / f"{record.skill}-{record.split}"
        stem.with_suffix(".jsonl.gz").write_bytes(pack_episodes(episodes))
        stem.with_suffix(".json").write_text(record.model_dump_json(indent=1) + "\n")
        for name, content in files.items():
            log = out / "logs" / stem.name / name
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(content)
    (out / "summary.json").write_text(summary.model_dump_json(indent=1) + "\n")
