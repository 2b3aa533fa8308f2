"""Writes a run's report through its store: figures, tables, one HTML page, and pages with transcripts."""

from __future__ import annotations

from functools import cache

from pydantic import ValidationError

from cycleqd.report.explore import explore_page
from cycleqd.report.history import replay
from cycleqd.report.losses import trainings
from cycleqd.report.page import html_page, markdown_page
from cycleqd.report.provenance import provenance
from cycleqd.report.samples import samples_key, samples_page
from cycleqd.report.summary import Evaluations, Summary, evaluations, summarise
from cycleqd.report.tables import row_name
from cycleqd.report.transcripts import transcript_key, transcript_page
from cycleqd.run.names import EXPLORE_KEY
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.store import RunStore, StoreError
from cycleqd.telemetry.events import event


def write_report(store: RunStore) -> Summary:
    """Draws the report of a run as far as it has got, replacing an earlier one.

    Writes ``report/summary.json``, ``report/index.html``, ``report/explore.html``, ``report/report.md``,
    ``report/<figure>.png`` and ``report/transcripts/*.html``. The summary comes last: its presence says
    that the rest is there.

    Returns:
        The figures, as written to ``report/summary.json``.

    Raises:
        StoreError: There is no such run.
    """
    from cycleqd.report.figures import draw  # not above: who only reads reports need not load matplotlib's axes

    history = replay(store)
    summary = summarise(store, history)
    figures = draw(summary, history)
    for name, image in figures.items():
        store.write_bytes(f"report/{name}.png", image)
    found = evaluations(store, summary.skills, summary.genomes)
    for (split, skill), records in same_samples(found).items():
        names = {row_name(row, summary): row for row in records}
        page = samples_page(
            f"{skill}, {split}: the same samples in all models",
            {name: records[row] for name, row in names.items()},
            {name: transcript_key(row, skill, split).rpartition("/")[2] for name, row in names.items()},
        )
        store.write_bytes(f"report/{samples_key(skill, split)}", page.encode())
    for (split, row, skill), record in found.items():
        page = transcript_page(
            record,
            store.pooled_episodes(record.genome, skill, split),
            title=f"{row}: {skill}, {split}",
            samples=samples_key(skill, split).rpartition("/")[2],
        )
        store.write_bytes(f"report/{transcript_key(row, skill, split)}", page.encode())
    background = provenance(store, found)
    page = html_page(summary, history, figures, background, frozenset(found), cache(store.individual))
    store.write_bytes("report/index.html", page.encode())
    store.write_bytes(EXPLORE_KEY, explore_page(summary, history, trainings(store)).encode())
    store.write_bytes("report/report.md", markdown_page(summary, figures, background).encode())
    store.write_json("report/summary.json", summary.model_dump(mode="json"))
    event("reported", run=store.run_id, generations=summary.generations)
    return summary


def same_samples(found: Evaluations) -> dict[tuple[str, str], dict[str, EvaluationRecord]]:
    """The evaluations that may have met the same samples, (split, skill) by row."""
    together: dict[tuple[str, str], dict[str, EvaluationRecord]] = {}
    for (split, row, skill), record in found.items():
        together.setdefault((split, skill), {})[row] = record
    return together


def read_summary(store: RunStore) -> Summary:
    """The summary of the last report that was written.

    Raises:
        StoreError: No report was written yet.
    """
    try:
        return Summary.model_validate(store.read_json("report/summary.json"))
    except StoreError:
        raise StoreError(f"run {store.run_id!r} has no report yet; draw it: cycleqd report {store.run_id}") from None
    except ValidationError:
        raise StoreError(
            f"{store.url('report/summary.json')} is of another version of cycleqd; draw it again: "
            f"cycleqd report {store.run_id}"
        ) from None
