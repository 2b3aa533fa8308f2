"""What the holder of a run's lease does first."""

from __future__ import annotations

from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.commits import check_commits
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.sweep import sweep


def recover(store: RunStore) -> None:
    """Holds the run against its commit records, then removes what an earlier process left half done.

    In this order nothing is removed from a damaged run, whose owner may restore what is missing.

    Args:
        store: A run whose lease this process holds.

    Raises:
        DamagedRun: A committed generation is not whole.
    """
    inventory = Inventory(store)
    check_commits(store, inventory)
    sweep(store, inventory)
