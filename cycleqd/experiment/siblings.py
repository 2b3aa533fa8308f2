"""Runs of one seed, whenever they were played: which of them can give a new run its experts."""

from __future__ import annotations

from collections.abc import Iterable

from cycleqd.experiment.plan import ExperimentConfig
from cycleqd.run.names import SEED_KEY, SUMMARY_KEY
from cycleqd.run.store import RunStore


def siblings(experiment: ExperimentConfig, seed: int) -> list[RunStore]:
    """The runs of a seed, those of methods that are left out, too; begun or not."""
    methods = dict.fromkeys((*experiment.methods, *experiment.others))
    return [RunStore(experiment.storage, experiment.run_id(method, seed)) for method in methods]


def finished(runs: Iterable[RunStore]) -> list[RunStore]:
    """Those that have a report, so that their experts and baselines have test scores."""
    return [run for run in runs if run.exists(SUMMARY_KEY)]


def givers(experiment: ExperimentConfig, seed: int, run_id: str) -> list[RunStore]:
    """Whose experts a run can have before it trains its own; those first that have the most scores.

    They are the runs of its seed whose search has begun: experts and baselines are finished then. There are none for
    a run whose own search has begun.
    """
    begun = [run for run in siblings(experiment, seed) if run.exists(SEED_KEY)]
    if any(run.run_id == run_id for run in begun):
        return []
    reported = finished(begun)
    return [*reported, *(run for run in begun if run not in reported)]
