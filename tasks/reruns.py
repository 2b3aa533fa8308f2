"""Scheduled reruns: one flow, and for each of its flow runs a run of its own."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

RERUN = "rerun"
"""Name of the flow."""

_LONGEST: Final = 63
"""Characters of a run's id (`RunConfig.run_id`)."""
_HASH: Final = 8
_SEEDS: Final = 2**63
"""Seeds that there are (`RunConfig.seed`)."""


def rerun_id(run_id: str, moment: datetime) -> str:
    """Id of the run that a flow run of `RERUN`, scheduled for `moment`, works on.

    A name that leaves no room for the time is cut; a hash of the whole keeps it apart from others that begin alike.
    """
    time = f"-{moment:%Y%m%d-%H%M}"
    room = _LONGEST - len(time)
    if len(run_id) > room:
        run_id = f"{run_id[: room - _HASH - 1]}-{hashlib.sha256(run_id.encode()).hexdigest()[:_HASH]}"
    return run_id + time


def rerun_seed(seed: int, moment: datetime) -> int:
    """Seed of the run that a flow run of `RERUN`, scheduled for `moment`, works on.

    With the configuration's own seed a rerun would only repeat the run, in strict mode bit for bit. The date is
    readable in it: seed 0 becomes 202603040506 on the 4th of March 2026 at 5:06 UTC.

    Args:
        seed: The configuration's, which still tells apart what is scheduled for the same minute.
        moment: When it was scheduled for.
    """
    return (seed + int(f"{moment:%Y%m%d%H%M}")) % _SEEDS
