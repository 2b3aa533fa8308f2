"""Runs of the same seed, by whatever method and whenever they were played, give a new run their experts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from cycleqd.baselines import candidates
from cycleqd.evaluation.agreement import stale_parts
from cycleqd.experiment.plan import ExperimentConfig
from cycleqd.experiment.sharing import CannotShare, take_over
from cycleqd.run.names import SEED_KEY, SUMMARY_KEY
from cycleqd.run.store import RunStore
from cycleqd.steps.sources import SourceDiffers, refuse_other_sources
from cycleqd.steps.workspace import Workspace

log = logging.getLogger(__name__)


def siblings(experiment: ExperimentConfig, seed: int) -> list[RunStore]:
    """The runs of a seed, those of methods that are left out, too; begun or not."""
    methods = (*experiment.methods, *experiment.others)
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


def take_experts(ws: Workspace, sources: Sequence[RunStore]) -> tuple[RunStore, int] | None:
    """Copies experts, baselines and their scores from the first run that can give them.

    Scores that this process would not repeat are left behind, and measured anew. A run with other experts than this
    one is to have is passed over, and logged.

    Args:
        ws: The run that is to have them; its base and scores are admitted.
        sources: Runs of the same seed (`givers`).

    Returns:
        The run that gave them and the number of objects copied; None where there was none.
    """
    evaluator = ws.evaluator
    baselines = tuple(candidate.id for candidate in candidates(ws.config.baselines))
    for source in sources:
        try:
            refuse_other_sources(source, ws.config)
            copied = take_over(
                source,
                ws.store,
                baselines,
                repeats=lambda record: not stale_parts(record, evaluator.skills, evaluator.fingerprint),
            )
        except (CannotShare, SourceDiffers) as error:
            log.warning("run %s is passed over: %s", source.run_id, error)
            continue
        return source, copied
    return None
