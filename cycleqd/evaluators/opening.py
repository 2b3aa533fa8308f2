"""Opens the evaluators that a configuration describes."""

from __future__ import annotations

from pathlib import Path

from cycleqd.config import RunConfig
from cycleqd.evaluators.protocol import Evaluators
from cycleqd.run.names import RunRef
from cycleqd.seams import EVALUATORS


def open_evaluators(run: RunRef, config: RunConfig) -> Evaluators | None:
    """The evaluators of a run in other processes; None where the run's own process scores.

    Args:
        run: The run, as evaluators find it.
        config: Its configuration.

    Raises:
        EvaluatorsMissing: The package of their kind is not installed.
        ConnectionError: There is no cluster at the address.
    """
    settings = config.evaluators
    if settings.kind == "threads":
        return None
    # A worker of a cluster has another working folder.
    storage = run.storage if "://" in run.storage else str(Path(run.storage).expanduser().absolute())
    evaluators: Evaluators = EVALUATORS.make(
        settings.kind,
        run.model_copy(update={"storage": storage}),
        count=settings.count,
        threads=settings.threads_each(config.search.in_flight),
        devices=settings.devices,
        address=settings.address,
        resources=settings.resources,
    )
    return evaluators
