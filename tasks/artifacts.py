"""What the Prefect UI shows of a run beside its logs: progress, archives, scores, episodes, the report.

Each artifact has a key of its own per run, so that the UI keeps a history. Without a server nothing is made.
What models wrote is shown as it stands (`cycleqd.report.markdown`). Called from within tasks and flows, whose tab then
shows the artifact; no tasks themselves, which would cost more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from prefect.artifacts import create_markdown_artifact, create_progress_artifact

from cycleqd.evaluation.audit import Audit
from cycleqd.report import replay, summarise
from cycleqd.report.auditing import audit_markdown
from cycleqd.report.glance import archives_markdown, curve_markdown
from cycleqd.report.markdown import code, plain
from cycleqd.report.reading import evaluation_markdown
from cycleqd.report.tables import baseline_table, comparison_table, headline, score_table
from cycleqd.run.names import CHECKPOINT_KEY, REPORT_KEY
from cycleqd.run.records import EvaluationRecord
from cycleqd.steps.workspace import Workspace
from tasks.server import has_server

P = ParamSpec("P")

CURVE_EVERY = 5
"""Generations between two score curves: a curve reads all records of the run."""

log = logging.getLogger("cycleqd.artifacts")


def _for_the_ui(make: Callable[P, None]) -> Callable[P, None]:
    """Skips it without a server; a server that fails to take it costs the run nothing but the picture."""

    @wraps(make)
    def careful(*args: P.args, **kwargs: P.kwargs) -> None:
        if not has_server():
            return
        try:
            make(*args, **kwargs)
        except Exception as error:
            log.warning("no artifact %s: %s", make.__name__, error)

    return careful


@_for_the_ui
def show_generation(ws: Workspace, generation: int, total: int, individual: str) -> None:
    """Progress, and the archives as they are after this generation; at times the score curve."""
    finished = generation + 1
    percentage = 100 * finished / total
    create_progress_artifact(
        percentage, key=artifact_key(ws.config.run_id, "progress"), description=f"{finished} of {total} generations"
    )
    if ws.search is not None:
        create_markdown_artifact(
            archives_markdown(ws.search.archives, individual, ws.store.url(REPORT_KEY)),
            key=artifact_key(ws.config.run_id, "archives"),
            description=f"After {finished} of {total} generations",
        )
    if finished % CURVE_EVERY == 0 or finished == total:
        create_markdown_artifact(
            curve_markdown(replay(ws.store), ws.store.url(REPORT_KEY)),
            key=artifact_key(ws.config.run_id, "scores"),
            description=f"After {finished} of {total} generations",
        )


@_for_the_ui
def show_evaluation(ws: Workspace, individual: str, record: EvaluationRecord, transcripts: str) -> None:
    """The verdicts and episodes of one evaluation."""
    episodes = ws.store.episodes(record.genome, record.skill, record.split)
    create_markdown_artifact(
        evaluation_markdown(record, episodes, individual=individual, transcripts=transcripts),
        key=artifact_key(ws.config.run_id, f"episodes-{record.skill}"),
        description=f"{plain(individual)}, {plain(record.split)}: {record.score}",
    )


@_for_the_ui
def show_report(ws: Workspace) -> None:
    """The outcome: tables of the report, and where the page and the model lie."""
    summary = summarise(ws.store)
    parts = [plain(headline(summary))]
    if (first := baseline_table(summary)).rows:
        parts.append(f"## {first.title}\n\n{first.to_markdown()}")
    for split in summary.splits:
        for table in (score_table(summary, split), comparison_table(summary, split)):
            if table.rows:
                parts.append(f"## {plain(table.title)}\n\n{table.to_markdown()}")
    parts.append(f"The page: {code(ws.store.url(REPORT_KEY))}")
    parts.append(f"The model: {code(ws.store.url(CHECKPOINT_KEY))}")
    create_markdown_artifact(
        "\n\n".join(parts), key=artifact_key(ws.config.run_id, "report"), description=plain(headline(summary))
    )


@_for_the_ui
def show_audit(found: Audit) -> None:
    """What an audit found, with the ids of the samples and the reasons."""
    create_markdown_artifact(
        audit_markdown(found),
        key=artifact_key("audit", found.skill),
        description=f"{found.n} samples of {plain(found.skill)}: {len(found.broken)} broken, "
        f"{len(found.cheated)} solved by a cheat, {len(found.skipped)} skipped",
    )


@_for_the_ui
def show_table(name: str, markdown: str) -> None:
    """The table that several runs end in: of an experiment, or of pairs."""
    create_markdown_artifact(markdown, key=artifact_key(name, "table"), description=plain(f"The table of {name}"))


def artifact_key(run_id: str, name: str) -> str:
    """A key that Prefect takes: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"cycleqd-{run_id}-{name}".lower()).strip("-")
