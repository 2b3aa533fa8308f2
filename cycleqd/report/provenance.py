"""Where the figures of a report come from: model, data, weights, software and sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cycleqd.report.summary import Evaluations
from cycleqd.report.tables import TextTable, duration, percent, scored
from cycleqd.run.names import SIMILARITY_KEY, TRUNCATED, child_id, expert_key
from cycleqd.run.records import GenerationRecord
from cycleqd.run.store import RunStore


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a reader needs to repeat a run.

    Attributes:
        configuration: The whole configuration as YAML.
        facts: Tables: data sets, base model, experts, sessions.
    """

    configuration: str
    facts: tuple[TextTable, ...]


def provenance(store: RunStore, found: Evaluations) -> Provenance:
    """Collects it from the run's records; what is not there yet is left out."""
    config = store.config()
    facts = [_data_sets(found), _benchmarks(found), _beside(found), _document("Base model", store, "base.json")]
    facts += [_document(f"{skill} expert", store, expert_key(skill, "summary.json")) for skill in config.skill_names]
    facts += [_document(f"{skill} expert", store, expert_key(skill, "source.json")) for skill in config.skill_names]
    for skill in config.skill_names:
        facts.append(_truncated(f"{skill} expert, truncated", store, expert_key(skill, TRUNCATED)))
    facts += [_similarities(store), _samples_spent(store), _sessions(store)]
    return Provenance(config.to_yaml(), tuple(table for table in facts if table.rows))


def _data_sets(found: Evaluations) -> TextTable:
    rows = sorted(
        {
            (f"{record.skill}, {record.split}", str(record.score.n), record.data_hash, record.engine, record.batching)
            for record in found.values()
        }
    )
    return TextTable("Samples and engines", ("samples", "n", "content hash", "engine", "batching"), tuple(rows))


def _benchmarks(found: Evaluations) -> TextTable:
    """Which release of a benchmark was played, and with whose prompt; generated suites have none."""
    rows = sorted(
        {
            (
                *(record.skill, record.data_version, record.data_sha256, record.prompt),
                *("" if record.max_turns is None else str(record.max_turns), str(record.skipped)),
            )
            for record in found.values()
            if record.data_sha256
        }
    )
    header = ("skill", "version", "SHA-256 of the data", "prompt", "turns", "skipped samples")
    return TextTable("Benchmarks", header, tuple(rows))


def _beside(found: Evaluations) -> TextTable:
    """Means of the verdicts that a judge gives beside the score, such as MBPP+'s plus tests."""
    rows: list[tuple[str, ...]] = []
    for (split, row, skill), record in sorted(found.items()):
        for name, judged in record.beside.items():
            beside = scored(judged)
            rows.append((f"{row}, {split}", skill, percent(record.score.score), name, beside, str(judged.n)))
    header = ("model", "skill", "score, %", "other verdict", "its mean, %", "n")
    return TextTable("Verdicts beside the score", header, tuple(rows))


def _similarities(store: RunStore) -> TextTable:
    """How alike the experts are: 1 where two change every matrix in the same proportions."""
    title, header = "Similarity of the experts' task vectors (CycleQD, 4.2.3)", ("pair", "similarity")
    known = store.read_json(SIMILARITY_KEY) if store.exists(SIMILARITY_KEY) else {}
    return TextTable(title, header, tuple((pair, f"{value:.3f}") for pair, value in sorted(known.items())))


def _samples_spent(store: RunStore) -> TextTable:
    """What racing saved and re-evaluation cost, in episodes; nothing for a search that does neither."""
    config = store.config()
    if config.noise.is_off:
        return TextTable("Samples where they decide", ("fact", "value"), ())
    records = store.generations()
    played = [sum(score.n for score in record.scores.values()) for record in records]
    children = {record.individual for record in records if _is_new(record)}
    blocks = Counter(record.individual for record in records)
    again = [episodes for record, episodes in zip(records, played, strict=True) if not _is_new(record)]
    most = min(config.noise.most, config.blocks)
    whole = max(played, default=0)
    early = sum(most - blocks[child] for child in children if blocks[child] < most)
    rows = (
        ("children", str(len(children))),
        ("episodes in all", str(sum(played))),
        ("episodes of individuals that were scored again", str(sum(again))),
        (f"episodes that racing saved, against {most} blocks a child", str(early * whole)),
    )
    return TextTable("Samples where they decide", ("fact", "value"), rows)


def _is_new(record: GenerationRecord) -> bool:
    return record.individual == child_id(record.index)


def _document(title: str, store: RunStore, key: str) -> TextTable:
    rows = tuple(_flat(store.read_json(key))) if store.exists(key) else ()
    return TextTable(title, ("fact", "value"), rows)


def _truncated(title: str, store: RunStore, key: str) -> TextTable:
    """How much was lost in all; parameter by parameter it stands in the record."""
    known = store.read_json(key) if store.exists(key) else {}
    whole = {name: value for name, value in known.items() if not isinstance(value, dict)}
    return TextTable(title, ("fact", "value"), tuple(_flat(whole)))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested JSON with their dotted paths; lists of more than a few items are only counted."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _flat(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and (len(value) > 8 or any(isinstance(item, dict | list) for item in value)):
        yield path, f"{len(value)} items"
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    else:
        yield path, f"{value:.6g}" if isinstance(value, float) else str(value)


def _sessions(store: RunStore) -> TextTable:
    rows = tuple(
        (
            session.started,
            duration(session.seconds.total),
            str(session.generations),
            str(session.tokens),
        )
        for session in store.sessions()
    )
    return TextTable("Sessions", ("started (UTC)", "wall-clock time", "generations", "tokens generated"), rows)
