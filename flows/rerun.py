"""The whole run again, under a name of its own: what a schedule starts."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from cycleqd.config import RunConfig
from flows.main import cycleqd_run
from tasks.reruns import RERUN, rerun_id


@flow(name=RERUN, flow_run_name="rerun {config.run_id}")
def rerun(config: RunConfig) -> str:
    """Starts a fresh run of a configuration, named after the time it was scheduled for.

    The same flow run, when it is retried, continues the same run.

    Args:
        config: The run; its name gets the time appended.

    Returns:
        The report's address.
    """
    scheduled: datetime | None = flow_run.scheduled_start_time
    run_id = rerun_id(config.run_id, scheduled or datetime.now(UTC))
    return cycleqd_run(RunConfig.model_validate(config.model_dump() | {"run_id": run_id}))
