"""Which runs of a storage were begun and not finished."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from cycleqd.config import RunConfig
from cycleqd.report import Summary, summarise
from cycleqd.report.write import read_summary
from cycleqd.run.lease import current_lease
from cycleqd.run.store import RunStore, StoreError, list_runs

log = logging.getLogger(__name__)


def unfinished_runs(storage: str) -> Iterator[RunConfig]:
    """The configurations of the runs that are not finished and that nobody works on, in order of their names.

    A run that cannot be read is left out, with a warning: it may be damaged, or of another version.
    """
    for run_id in list_runs(storage):
        store = RunStore(storage, run_id)
        try:
            if current_lease(store) is not None or is_finished(store):
                continue
            # Where it lies now: a storage may have been moved, or be mounted elsewhere.
            config = store.config().model_copy(update={"storage": storage})
        except Exception as error:  # whatever a damaged run, or one of another version, makes of its reader
            log.warning("run %s is left out: %s", run_id, error)
            continue
        yield config


def is_finished(store: RunStore) -> bool:
    """Whether the final model stands behind all generations, is measured on the test split, exported and reported.

    Raises:
        StoreError: A record is damaged or of another version, so that nobody can go on with the run either.
    """
    now = summarise(store)
    try:
        shown = read_summary(store)
    except StoreError:  # none, or one of another version: it is drawn again
        return False
    return (
        now.aggregated_after == now.generations_planned
        and now.mean("test", "cycleqd") is not None
        and store.has_exported(now.genomes["cycleqd"])
        # It may have been drawn in the middle of the run, or of an earlier final model.
        and _outcome(shown) == _outcome(now)
    )


def _outcome(summary: Summary) -> tuple[int | None, str | None, float | None]:
    return summary.aggregated_after, summary.genomes.get("cycleqd"), summary.mean("test", "cycleqd")
