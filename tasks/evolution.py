"""Tasks of the search: seeding, breeding, committing, aggregating."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.report import write_report
from cycleqd.report.tables import headline
from cycleqd.run.names import REPORT_KEY, RunRef
from cycleqd.run.records import Phases, Score, Split
from cycleqd.skills.parts import Part
from cycleqd.steps.workspace import opened
from tasks import announcing, artifacts, lineage
from tasks.options import RETRIED
from tasks.tags import tag_task


@task(task_run_name="seed archives", **RETRIED)
def seed_archives(run: RunRef) -> list[str]:
    """Commits the experts' scores and fills the archives with them; returns the experts' ids."""
    tag_task(run, "archive")
    with opened(run) as ws:
        record = steps.seed_archives(ws)
        archives = steps.rebuild_search(ws).archives
    for one in record.offered:
        text = ", ".join(f"{skill} {score}" for skill, score in record.scores[one].items())
        get_run_logger().info("%s: %s", one, text)
    get_run_logger().info("cells filled: %s", {skill: len(archives[skill].cells) for skill in archives.skills})
    return record.experts


@task(task_run_name="g{generation:04d} breed", **RETRIED)
def breed(run: RunRef, generation: int) -> tuple[str, Part]:
    """Makes the child that the search asks for; returns its id and the part of the samples that it is to meet."""
    tag_task(run, generation=generation)
    with opened(run) as ws:
        child = steps.breed(ws, generation)
        identifier, part = steps.asked(ws, generation)
    if child.generation != generation:
        get_run_logger().info("%s again, on %s", identifier, part)
        return identifier, part
    get_run_logger().info(
        "%s of archive %s: parents %s, coefficients %s, mutation %s",
        child.id,
        child.archive or "(none)",
        ", ".join(child.parents),
        ", ".join(f"{c:.4f}" for c in child.coefficients),
        child.mutation,
    )
    return identifier, part


@task(task_run_name="g{generation:04d} commit", **RETRIED)
def commit(
    run: RunRef,
    generation: int,
    scores: Mapping[str, Score],
    seconds: Phases,
    total: int,
    split: Split | None = None,
    child: int | None = None,
    load: float | None = None,
) -> str:
    """Offers a child to all archives and commits a generation; returns one line that says what came out.

    The child is the one of the generation's number unless another is given.
    """
    tag_task(run, generation=generation)
    with opened(run) as ws:
        record = steps.commit(ws, generation, scores, seconds, split, child, load)
        announcing.committed(ws.store, record, total)
        artifacts.show_generation(ws, generation, total, record.individual)
    cells = ", ".join(
        f"{skill} {cell.bins}" + (f" from {cell.displaced}" if cell.displaced else "")
        for skill, cell in record.cells.items()
    )
    line = f"{record.individual} ({record.archive}): {_listed(record.scores)}; cells won: {cells or 'none'}"
    get_run_logger().info("%s", line)
    return line


@task(task_run_name="aggregate elites", **RETRIED)
def aggregate(run: RunRef) -> str:
    """Folds the elites into the final model; returns its id."""
    tag_task(run, "merge")
    with opened(run) as ws:
        record = steps.aggregate(ws)
    parts = zip(record.parents, record.coefficients, strict=True)
    get_run_logger().info("aggregate = %s", " + ".join(f"{beta:.3f} {elite}" for elite, beta in parts))
    return record.id


@task(task_run_name="refine the final model", **RETRIED)
def refine(run: RunRef) -> str:
    """Fine-tunes the search's answer on the episodes that the search solved; returns the final model's id."""
    tag_task(run, "experts")
    with opened(run) as ws:
        record = steps.refine(ws)
    get_run_logger().info("%s: fine-tuned on %s solved episodes", record.id, record.mutation["episodes"])
    return record.id


@task(task_run_name="write report", **RETRIED)
def report(run: RunRef) -> str:
    """Draws tables and figures from the records; returns the report's address."""
    tag_task(run, "report")
    with opened(run) as ws:
        summary = write_report(ws.store)
        if ws.tracking:
            ws.tracking.reported(summary)
        announcing.finished(ws.store, summary)
        lineage.report(ws.store, {"headline": headline(summary), "generations": summary.generations})
        artifacts.show_report(ws)
        return ws.store.url(REPORT_KEY)


def _listed(scores: Mapping[str, Score]) -> str:
    return ", ".join(f"{skill} {score}" for skill, score in scores.items())
