"""The task that audits a skill."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from cycleqd.evaluation.audit import Audit, default_counts
from cycleqd.evaluation.audit import audit as play_audit
from cycleqd.skills.benchmarks.benchmark import Source
from tasks import artifacts
from tasks.options import is_infrastructure_fault


@task(task_run_name="audit {skill}", retries=1, retry_condition_fn=is_infrastructure_fault)
def audit_skill(skill: str, data: str | None, excluded: tuple[str, ...]) -> Audit:
    """Plays oracle, empty agent and cheats over every sample."""
    source = Source(data=data, excluded=frozenset(excluded))
    found = play_audit(skill, source=source, counts=default_counts(skill))
    get_run_logger().info(
        "%s: %d samples, the gold solution passes %d, the empty agent %d; %d broken, %d solved by a cheat, %d skipped",
        skill, found.n, found.oracle_passed, found.empty_passed, len(found.broken), len(found.cheated),
        len(found.skipped),
    )  # fmt: skip
    artifacts.show_audit(found)
    return found
