"""Finding a run that there must be, by its name."""

from __future__ import annotations

from cycleqd.faults import StoreError, hint
from cycleqd.run.store import RunStore, list_runs


class RunUnknown(StoreError):
    """There is no run of that name; the text names close ones, or those that there are."""


def find_run(name: str, storage: str) -> RunStore:
    """The store of an existing run.

    Args:
        name: The run's name.
        storage: Folder or URL that holds the runs.

    Raises:
        RunUnknown: There is none of that name.
    """
    names = list_runs(storage)
    if name not in names:
        raise RunUnknown(f"no run {name!r} under {storage}{hint(name, names, 'there are no runs')}")
    return RunStore(storage, name)
