"""Tasks that score individuals by letting them act."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from cycleqd import steps
from cycleqd.config import TaskConfig
from cycleqd.report.reading import verdicts_line
from cycleqd.run.records import Score
from cycleqd.skills.parts import Part
from cycleqd.steps.workspace import BASE, opened
from cycleqd.telemetry import metrics
from cycleqd.telemetry.events import event
from tasks import artifacts
from tasks.options import RETRIED, is_infrastructure_fault


@task(task_run_name="{label} load", **RETRIED)
def load_individual(storage: str, run_id: str, individual: str, label: str) -> str:
    """Puts an individual's weights into the engine; returns their identity."""
    with opened(storage, run_id) as ws:
        return steps.load(ws, individual)


@task(task_run_name="{label} evaluate {skill}", retry_condition_fn=is_infrastructure_fault)
def evaluate_individual(
    storage: str, run_id: str, individual: str, skill: str, split: Part, label: str
) -> dict[str, float]:
    """Scores the loaded individual on one skill's split, in Docker; returns the score as a plain dict."""
    if (attempt := task_run.run_count or 1) > 1:
        metrics.count_retry(run_id, skill)
        event("evaluation_retried", run=run_id, individual=individual, skill=skill, split=split, attempt=attempt)
    with opened(storage, run_id) as ws:
        record = steps.evaluate_individual(ws, individual, skill, split)
        transcripts = ws.store.url(f"evaluations/{record.identity}/{skill}-{split}.jsonl.gz")
        parents = [] if individual == BASE else ws.store.individual(individual).parents
        artifacts.show_evaluation(ws, individual, record, transcripts)
    solved = sum(sample.score == 1.0 for sample in record.samples)
    turns = sum(sample.turns for sample in record.samples)
    get_run_logger().info(
        "%s (parents: %s) on %s %s: %s (%d of %d solved, %d turns, %d tokens, %.1f s); episodes: %s",
        individual, ", ".join(parents) or "none", skill, split, record.score, solved,
        record.score.n, turns, record.tokens, record.seconds, transcripts,
    )  # fmt: skip
    get_run_logger().info("%s on %s: %s", individual, skill, verdicts_line(record))
    return record.score.model_dump()


def evaluate_everywhere(
    storage: str,
    run_id: str,
    individual: str,
    split: Part,
    *,
    skills: tuple[str, ...],
    options: TaskConfig,
    label: str,
) -> dict[str, Score]:
    """Loads an individual, if need be, and scores it on all skills, as one task per skill, concurrently.

    Returns:
        The scores by skill.

    Raises:
        Exception: Whatever an evaluation failed with after its retries; the others are waited for first.
    """
    with opened(storage, run_id) as ws:
        if not steps.is_evaluated(ws, individual, split):
            load_individual(storage, run_id, individual, label)
            steps.begin_rounds(ws, individual, split)
    evaluation = evaluate_individual.with_options(
        retries=options.retries,
        retry_delay_seconds=[options.retry_seconds * 2**attempt for attempt in range(options.retries)],
        timeout_seconds=options.timeout_seconds,
    )
    futures = {skill: evaluation.submit(storage, run_id, individual, skill, split, label) for skill in skills}
    try:
        for future in futures.values():
            future.wait()
    except BaseException:  # Ctrl-C or a cancellation: the evaluations' threads must not play on
        with opened(storage, run_id) as ws:
            ws.stop.set()
        raise
    return {skill: Score(**future.result()) for skill, future in futures.items()}
