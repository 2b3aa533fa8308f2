"""What all tasks share: where they run, and which faults are worth a retry."""

from __future__ import annotations

import logging
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import get_current_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from cycleqd.evaluation.rounds import RoundBroken
from cycleqd.sandbox import SandboxUnavailable

THREADS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=256)
"""Evaluations share this process' engine and sandboxes; the pool of containers bounds what really runs at a time. Most
threads only wait: up to 64 children in flight (`search.in_flight`) have one per skill, or one each."""

INFRASTRUCTURE_FAULTS = (SandboxUnavailable, ConnectionError, TimeoutError)
"""Faults that may be gone on the next attempt. Everything else would only repeat itself."""


def is_infrastructure_fault(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Prefect's ``retry_condition_fn``: True for faults of the sandbox, the store or the network."""
    fault = state.result(raise_on_failure=False)
    if isinstance(fault, RoundBroken):
        fault = fault.__cause__
    return isinstance(fault, INFRASTRUCTURE_FAULTS)


RETRIED: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": is_infrastructure_fault,
}
"""Options of tasks that may simply be done again; a store has been asked for a minute when one fails."""


def _is_news(record: logging.LogRecord) -> bool:
    # Prefect says so before every evaluation. It is known here: each blocking call has a time-out of its own, and
    # the task's is but the last net.
    return "in a worker thread" not in str(record.msg)


logging.getLogger("prefect.task_runs").addFilter(_is_news)
# PREFECT_LOGGING_EXTRA_LOGGERS hands a logger Prefect's handler but not its level, and the root's WARNING would keep
# events back.
logging.getLogger("cycleqd").setLevel(get_current_settings().logging.level)
