"""What the holder of a run's lease does first."""

from __future__ import annotations

from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.commits import check_commits
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.sweep import sweep


def recover(store: RunStore) -> None:
    """Removes what an earlier process left half done, then holds the run against its commit records.

    Args:
        store: A run whose lease this process holds.

    Raises:
        DamagedRun: A committed generation is not whole.
    """
    inventory = Inventory(store)
    sweep(store, inventory)
    check_commits(store, inventory)
