"""Continues what was left unfinished: meant for a schedule, or for a hand on the button after a power cut."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd.report.unfinished import unfinished_runs
from cycleqd.run.lease import RunLocked
from flows.main import cycleqd_run


@flow(name="resume-unfinished", flow_run_name="resume unfinished runs of {storage}")
def resume_unfinished(storage: str = "runs") -> list[str]:
    """Continues every run under a storage that was begun and is not finished, one after the other.

    A run that another process works on is left alone, also one that somebody took up in this moment. One that fails
    does not keep the others from their turn.

    Args:
        storage: Folder or URL that holds the runs.

    Returns:
        Ids of the runs that were finished now.

    Raises:
        RuntimeError: Some run failed again; its own flow run says why.
    """
    log = get_run_logger()
    finished: list[str] = []
    failed: list[str] = []
    for config in unfinished_runs(storage):
        log.info("continuing %s", config.run_id)
        state = cycleqd_run(config, return_state=True)
        if isinstance(state.result(raise_on_failure=False), RunLocked):
            log.info("%s is worked on by another process now", config.run_id)
            continue
        (finished if state.is_completed() else failed).append(config.run_id)
    log.info("finished: %s", ", ".join(finished) or "nothing was left to do")
    if failed:
        raise RuntimeError(f"not finished: {', '.join(failed)}")
    return finished
