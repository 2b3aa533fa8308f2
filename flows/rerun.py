"""The whole run again, under a name of its own: what a schedule starts."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run
from pydantic import StrictBool

from cycleqd.config import FormConfig, RunConfig
from flows.main import cycleqd_run
from tasks.reruns import RERUN, rerun_id, rerun_seed


@flow(name=RERUN, flow_run_name="rerun {config.run_id}")
def rerun(config: FormConfig, keep_seed: StrictBool = False) -> str:
    """Starts a fresh run of a configuration, named after the time it was scheduled for.

    The same flow run, when it is retried, continues the same run.

    Args:
        config: The run; its name gets the time appended, and its seed the date added. It may name a profile, whose
            values stand for all that is left out.
        keep_seed: Take the configuration's own seed each time. In strict mode, such a rerun repeats the run bit for
            bit.

    Returns:
        The report's address.
    """
    scheduled: datetime | None = flow_run.scheduled_start_time
    moment = (scheduled or datetime.now(UTC)).astimezone(UTC)
    changes = {
        "run_id": rerun_id(config.run_id, moment),
        "seed": config.seed if keep_seed else rerun_seed(config.seed, moment),
    }
    return cycleqd_run(RunConfig.model_validate(config.model_dump() | changes))
