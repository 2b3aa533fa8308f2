"""Writes the pages with episodes: of the report's rows, of individuals in the archives, and sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cycleqd.report.history import History
from cycleqd.report.members import holders
from cycleqd.report.samples import samples_key, samples_page
from cycleqd.report.summary import Evaluations, Summary
from cycleqd.report.tables import row_name
from cycleqd.report.transcripts import individual_key, individual_page, transcript_key, transcript_page
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.store import RunStore

MOST_INDIVIDUALS: Final = 100
MOST_BYTES: Final = 20_000_000
"""Of the pages of individuals in archives that are no rows of the report: a large archive has hundreds of them."""

SEARCHED: Final = "optimization"
"""The split that a search scores its individuals on."""


class EpisodePages(NamedTuple):
    """What was written.

    Attributes:
        links: Pages beside the report's, by individual, then by skill and split.
        held: Individuals in archives that have a page of their own.
        left_out: How many individuals in archives have none, as there are too many.
    """

    links: dict[str, dict[str, str]]
    held: list[str]
    left_out: int


def write_episode_pages(
    store: RunStore,
    summary: Summary,
    history: History,
    found: Evaluations,
    *,
    most: int = MOST_INDIVIDUALS,
    room: int = MOST_BYTES,
) -> EpisodePages:
    """Writes all pages.

    Args:
        store: The run.
        summary: Its figures.
        history: Its archives over the generations.
        found: The evaluations of the report's rows.
        most: How many individuals in archives get a page of their own; those of the highest means come first.
        room: Bytes that these pages may take.
    """
    _write_samples(store, summary, found)
    links: dict[str, dict[str, str]] = {}
    for (split, row, skill), record in found.items():
        key = transcript_key(row, skill, split)
        page = transcript_page(
            record,
            store.pooled_episodes(record.genome, skill, split),
            title=f"{row}: {skill}, {split}",
            samples=samples_key(skill, split).rpartition("/")[2],
        )
        store.write_bytes(f"report/{key}", page.encode())
        if row in summary.individuals:
            links.setdefault(summary.individuals[row], {}).setdefault(f"{skill}, {split}", key)
    held, waiting = [], [name for name in _by_mean(history) if name not in links]
    for name in waiting[:most]:
        played = _played(store, name, summary.skills)
        if not played:
            continue
        episodes = {skill: store.pooled_episodes(one.genome, skill, SEARCHED) for skill, one in played.items()}
        content = individual_page(f"{name}: {SEARCHED}", played, episodes).encode()
        room -= len(content)
        if room < 0:
            break
        key = individual_key(name)
        store.write_bytes(f"report/{key}", content)
        links[name] = {f"{skill}, {SEARCHED}": f"{key}#{skill}" for skill in played}
        held.append(name)
    return EpisodePages(links, held, len(waiting) - len(held))


def _write_samples(store: RunStore, summary: Summary, found: Evaluations) -> None:
    for (split, skill), records in same_samples(found).items():
        names = {row_name(row, summary): row for row in records}
        page = samples_page(
            f"{skill}, {split}: the same samples in all models",
            {name: records[row] for name, row in names.items()},
            {name: transcript_key(row, skill, split).rpartition("/")[2] for name, row in names.items()},
        )
        store.write_bytes(f"report/{samples_key(skill, split)}", page.encode())


def same_samples(found: Evaluations) -> dict[tuple[str, str], dict[str, EvaluationRecord]]:
    """The evaluations that may have met the same samples, (split, skill) by row."""
    together: dict[tuple[str, str], dict[str, EvaluationRecord]] = {}
    for (split, row, skill), record in found.items():
        together.setdefault((split, skill), {})[row] = record
    return together


def _by_mean(history: History) -> list[str]:
    """Whom the archives hold, the highest mean over all skills first."""
    scores: dict[str, Mapping[str, float]] = {
        occupant.id: occupant.scores
        for cells in (history.now.cells.values() if history.now else ())
        for occupant in cells.values()
    }
    return sorted(holders(history), key=lambda name: (-sum(scores[name].values()), name))


def _played(store: RunStore, name: str, skills: list[str]) -> dict[str, EvaluationRecord]:
    """An individual's evaluations by skill; without those that the run no longer has."""
    if not store.has_individual(name):
        return {}
    genome = store.individual(name).genome
    return {skill: record for skill in skills if (record := store.pooled(genome, skill, SEARCHED)) is not None}
