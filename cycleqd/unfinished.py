"""Which runs of a storage were begun and not finished."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from cycleqd.config import ConfigError, RunConfig
from cycleqd.lease import current_lease
from cycleqd.report import summarise
from cycleqd.store import RunStore, StoreError, list_runs

log = logging.getLogger(__name__)


def unfinished_runs(storage: str) -> Iterator[RunConfig]:
    """The configurations of the runs that have no final report and that nobody works on, in order of their names.

    A run whose configuration cannot be read any more is left out, with a warning: it may be of an older version.
    """
    for run_id in list_runs(storage):
        store = RunStore(storage, run_id)
        try:
            if current_lease(store) is None and not is_finished(store):
                # Where it lies now: a storage may have been moved, or be mounted elsewhere.
                yield store.config().model_copy(update={"storage": storage})
        except (StoreError, ConfigError) as error:
            log.warning("run %s is left out: %s", run_id, error)


def is_finished(store: RunStore) -> bool:
    """Whether the final model stands behind all generations, is measured on the test split, and is reported."""
    if not store.exists("report/summary.json"):
        return False
    summary = summarise(store)
    return summary.aggregated_after == summary.generations_planned and summary.mean("test", "cycleqd") is not None
