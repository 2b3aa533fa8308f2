"""From rows to conversations: mapped, decontaminated, capped, counted and hashed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cycleqd.config import DataConfig, RunConfig
from cycleqd.experts.conversations import TrainingMessage, content_hash
from cycleqd.experts.data.decontamination import EvaluationNgrams, evaluation_texts
from cycleqd.experts.data.recipes import MalformedRow, UnreadableRow, conversation_of
from cycleqd.experts.data.sources import DataSource, TrainingDataUnavailable, rows
from cycleqd.randomness import rng
from cycleqd.run.records import Record
from cycleqd.skills.protocol import Skill

_log = logging.getLogger(__name__)


class SourceReport(Record):
    """What became of a source's rows: all of them are counted in exactly one of the last five.

    Attributes:
        recipe: The recipe's name.
        path: File, folder or hub id that was read.
        rows: Rows in all.
        elsewhere: Rows of parts that were not asked for.
        malformed: Rows that are not what the recipe expects.
        contaminated: Rows that share words with an evaluation sample.
        capped: Rows that ``max_samples`` left out.
        kept: Conversations to train on.
        first_fault: Which row was the first malformed one (counted from 1), and what was wrong with it.
        first_shared: The words that the first contaminated row shares.
    """

    recipe: str
    path: str
    rows: int
    elsewhere: int
    malformed: int
    contaminated: int
    capped: int
    kept: int
    first_fault: str = ""
    first_shared: str = ""


class DataReport(Record):
    """What one expert learns from.

    Attributes:
        sources: DataSource by source.
        decontamination: Words in a row that count as contamination; 0 where nothing was looked for.
        conversations: Conversations in all, before too long ones are left out.
        hash: Their content hash.
    """

    sources: list[SourceReport]
    decontamination: int
    conversations: int
    hash: str


class Prepared(NamedTuple):
    """Conversations to train on, and where they come from."""

    conversations: list[list[TrainingMessage]]
    report: DataReport


def sources_of(data: DataConfig) -> list[DataSource]:
    """The sources that a configuration names."""
    return [DataSource(item.recipe, item.path, item.split, item.subset, item.max_samples) for item in data.sources]


def prepare_skill(config: RunConfig, skill: str, skills: Iterable[Skill]) -> Prepared:
    """Reads the data sets of one skill's expert.

    Args:
        config: Names them under ``experts.data``.
        skill: Whose expert.
        skills: All skills of the run: their evaluation samples are kept out of every expert's data.

    Raises:
        ValueError: The configuration names no data sets for this skill.
        TrainingDataUnavailable: A source cannot be read, or gives no conversation at all.
    """
    data = config.experts.data_of(skill)
    if data is None:
        raise ValueError(f"experts.data names no data sets for {skill}")
    n = data.decontamination
    evaluated = EvaluationNgrams(evaluation_texts(skills), n) if n else None
    return prepare(sources_of(data), evaluated=evaluated, decontamination=n, seed=config.seed)


def prepare(
    sources: Sequence[DataSource], *, evaluated: EvaluationNgrams | None, decontamination: int, seed: int
) -> Prepared:
    """Reads sources and makes the conversations of one expert.

    Args:
        sources: Their conversations follow each other.
        evaluated: What must not be trained on; None keeps everything.
        decontamination: The n of `evaluated`, for the report.
        seed: Draws the conversations that ``max_samples`` keeps.

    Raises:
        TrainingDataUnavailable: A source cannot be read, or gives no conversation at all.
    """
    conversations: list[list[TrainingMessage]] = []
    reports = []
    for number, source in enumerate(sources):
        found, report = _read(source, evaluated, int(rng(seed, number, "training data").integers(2**31)))
        _log.info("%s: %d of %d rows kept", report.path, report.kept, report.rows)
        if report.malformed:
            _log.warning("%s: %d malformed rows; %s", report.path, report.malformed, report.first_fault)
        conversations += found
        reports.append(report)
    whole = content_hash(conversations)
    return Prepared(
        conversations,
        DataReport(
            sources=reports,
            decontamination=decontamination if evaluated is not None else 0,
            conversations=len(conversations),
            hash=whole,
        ),
    )


def _read(
    source: DataSource, evaluated: EvaluationNgrams | None, seed: int
) -> tuple[list[list[TrainingMessage]], SourceReport]:
    found: list[list[TrainingMessage]] = []
    total = elsewhere = malformed = contaminated = 0
    fault = shared = ""
    for row in rows(source):
        total += 1
        if (
            source.subset
            and source.rule.part
            and not isinstance(row, UnreadableRow)
            and (source.rule.part(row) != source.subset)
        ):
            elsewhere += 1
            continue
        try:
            conversation = conversation_of(source.rule, row)
        except MalformedRow as error:
            malformed += 1
            fault = fault or f"row {total}: {error}"
            continue
        if evaluated is not None and (words := _shared(conversation, evaluated)):
            contaminated += 1
            shared = shared or words
            continue
        found.append(conversation)
    kept = _draw(found, source.max_samples, seed)
    report = SourceReport(
        recipe=source.recipe,
        path=source.place,
        rows=total,
        elsewhere=elsewhere,
        malformed=malformed,
        contaminated=contaminated,
        capped=len(found) - len(kept),
        kept=len(kept),
        first_fault=fault,
        first_shared=shared,
    )
    if not kept:
        raise TrainingDataUnavailable(_nothing(source, report))
    return kept, report


def _shared(conversation: Sequence[TrainingMessage], evaluated: EvaluationNgrams) -> str | None:
    return next((words for message in conversation if (words := evaluated.find(message["content"]))), None)


def _draw(found: list[list[TrainingMessage]], most: int | None, seed: int) -> list[list[TrainingMessage]]:
    if most is None or len(found) <= most:
        return found
    chosen = rng(seed, 0, "cap").permutation(len(found))[:most]
    return [found[index] for index in sorted(chosen)]


def _nothing(source: DataSource, report: SourceReport) -> str:
    why = f"{report.malformed} malformed"
    if report.first_fault:
        why += f", the first: {report.first_fault}"
    if source.subset:
        why += f"; {report.elsewhere} of other subsets than {source.subset!r}"
    return (
        f"{report.path}: none of {report.rows} rows can be trained on ({why}; {report.contaminated} contaminated). "
        f"Recipe {source.recipe} expects {source.rule.columns}"
    )
