"""Upkeep: what keeps a run's folder true and small.

The commit records (``generations/seed.json``, ``generations/<t>.json``) are the truth. Everything else either agrees
with them, can be derived from them, or is a leftover.

Public: `recover`, which a writer calls when it has the lease: `sweep` removes leftovers of an earlier process, and
`check_commits` holds the run against its records; `plan_pruning` and `prune`, which remove the genomes of individuals
that no archive holds any more; `verify`, which looks at every object and says what is missing or damaged.
"""

from cycleqd.run.upkeep.commits import DamagedRun, Fault, check_commits
from cycleqd.run.upkeep.prune import Doomed, Pruned, plan_pruning, prune
from cycleqd.run.upkeep.recovery import recover
from cycleqd.run.upkeep.sweep import leftovers, sweep
from cycleqd.run.upkeep.verify import Verification, Watcher, verify

__all__ = [
    "DamagedRun",
    "Doomed",
    "Fault",
    "Pruned",
    "Verification",
    "Watcher",
    "check_commits",
    "leftovers",
    "plan_pruning",
    "prune",
    "recover",
    "sweep",
    "verify",
]
