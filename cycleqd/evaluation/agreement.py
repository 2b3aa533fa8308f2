"""Whether finished scores are what this process would measure: scores that are not are never mixed with new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from cycleqd.evaluation.fingerprint import differences
from cycleqd.evaluation.play import samples_hash
from cycleqd.run.records import EvaluationRecord
from cycleqd.skills.parts import Part, samples_of, split_of
from cycleqd.skills.protocol import Skill
from cycleqd.storage import StoreError

Fingerprint = Callable[[str, Part], Mapping[str, str]]
"""(skill, part) -> what this process' scores depend on besides weights and samples."""


class OtherScores(StoreError):
    """The run's scores depend on something that this process does not have; the text says on what."""


def stale_parts(record: EvaluationRecord, skills: Mapping[str, Skill], fingerprint: Fingerprint) -> dict[str, str]:
    """What a finished score depends on that this process has otherwise: a text by part."""
    if record.skill not in skills or split_of(record.split) not in ("train", "optimization", "test"):
        return {}  # of no skill of this run: nothing reads it
    return differences(record.fingerprint, fingerprint(record.skill, record.split)) if record.fingerprint else {}


def refuse_other_scores(
    run_id: str, record: EvaluationRecord, skills: Mapping[str, Skill], fingerprint: Fingerprint
) -> None:
    """Refuses one finished evaluation that this process would not repeat.

    Raises:
        OtherScores: Its fingerprint differs.
    """
    if texts := stale_parts(record, skills, fingerprint):
        raise OtherScores(refusal(run_id, {"": record}, {"": texts}))


def refuse_other_data(record: EvaluationRecord, skill: Skill, part: Part) -> None:
    """Refuses a finished evaluation on different samples, of another release of a benchmark, or with other prompts.

    Raises:
        RuntimeError: It is such a one.
    """
    then = (record.data_hash, record.data_sha256, record.prompt)
    if then != (samples_hash(samples_of(skill, part)), skill.origin.sha256, skill.origin.prompt):
        raise RuntimeError(
            f"this run scored {skill.name} on other samples or with another prompt ({record.data_version}, "
            f"{record.data_hash[:12]}, prompt {record.prompt[:19]}): restore the data that it began with, or start "
            "another run"
        )


def refusal(run_id: str, records: Mapping[str, EvaluationRecord], stale: Mapping[str, Mapping[str, str]]) -> str:
    """Why a run is not continued whose scores are stale; by key, as in `by_part`."""
    parts = "; ".join(f"{text} ({', '.join(skills)})" for text, skills in by_part(records, stale).items())
    return (
        f"run {run_id!r}: {len(stale)} of its scores would be measured differently now: {parts}. Old and new scores "
        "must not be mixed. Restore what changed, measure the old ones anew (cycleqd run --rescore), or start a run "
        "of another name"
    )


def by_part(records: Mapping[str, EvaluationRecord], stale: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """What differs (``judge: was ..., now ...``), each with the skills that it concerns."""
    found: dict[str, set[str]] = defaultdict(set)
    for key, texts in stale.items():
        for part, text in texts.items():
            found[f"{part} {text}"].add(records[key].skill)
    return {text: sorted(skills) for text, skills in sorted(found.items())}
