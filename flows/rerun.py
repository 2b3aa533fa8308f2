"""The whole run again, under a name of its own: what a schedule starts."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from cycleqd.config import RunConfig
from flows.main import cycleqd_run


@flow(name="rerun", flow_run_name="rerun {config.run_id}")
def rerun(config: RunConfig) -> str:
    """Starts a fresh run of a configuration, named after the time it was scheduled for.

    The same flow run, when it is retried, continues the same run.

    Args:
        config: The run; its name gets the time appended.

    Returns:
        The report's address.
    """
    scheduled: datetime | None = flow_run.scheduled_start_time
    moment = (scheduled or datetime.now(UTC)).strftime("%Y%m%d-%H%M")
    return cycleqd_run(RunConfig.model_validate(config.model_dump() | {"run_id": f"{config.run_id}-{moment}"}))
