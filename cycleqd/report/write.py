"""Writes a run's report through its store: figures, tables, one HTML page, and pages with transcripts."""

from __future__ import annotations

from functools import cache

from pydantic import ValidationError

from cycleqd.report.episode_pages import write_episode_pages
from cycleqd.report.explore import explored
from cycleqd.report.history import replay
from cycleqd.report.losses import trainings
from cycleqd.report.members import Records
from cycleqd.report.page import html_page, markdown_page
from cycleqd.report.provenance import provenance
from cycleqd.report.summary import Summary, evaluations, summarise
from cycleqd.run.names import REPORT_KEY
from cycleqd.run.store import RunStore, StoreError
from cycleqd.telemetry.events import event


def write_report(store: RunStore) -> Summary:
    """Draws the report of a run as far as it has got, replacing an earlier one.

    Writes ``report/summary.json``, ``report/index.html``, ``report/report.md``, ``report/<figure>.png`` and
    ``report/transcripts/*.html``. The summary comes last: its presence says that the rest is there.

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
    episodes = write_episode_pages(store, summary, history, found)
    background, read = provenance(store, found), cache(store.individual)
    records = Records(
        summary, history, store.seed(), lambda name: read(name) if store.has_individual(name) else None, episodes.links
    )
    page = html_page(
        summary, figures, background, frozenset(found), read, explored(records, trainings(store)), episodes
    )
    store.write_bytes(REPORT_KEY, page.encode())
    store.write_bytes("report/report.md", markdown_page(summary, figures, background).encode())
    store.write_json("report/summary.json", summary.model_dump(mode="json"))
    event("reported", run=store.run_id, generations=summary.generations)
    return summary


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
