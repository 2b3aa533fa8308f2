"""The steps of a run, each idempotent: what is already in the store is not done again.

A step takes the workspace and references, leaves its result in the store and returns a small record. Prefect's tasks
wrap these functions one to one; a plain loop over them is a whole run. Public, by phase:
`cycleqd.steps.training_data`, `cycleqd.steps.experts`, `cycleqd.steps.regmean`,
`cycleqd.steps.baselines`, `cycleqd.steps.search`, `cycleqd.steps.final`, `cycleqd.steps.refinement`,
`cycleqd.steps.export`. Scores come from an evaluation scope (`Workspace.evaluator`).
"""

from cycleqd.steps.baselines import derive_baselines
from cycleqd.steps.experts import (
    derive_all_data,
    derive_experts,
    train,
    train_on_all_data,
)
from cycleqd.steps.final import aggregate, compared
from cycleqd.steps.refinement import refine
from cycleqd.steps.search import (
    asked,
    breed,
    commit,
    current_search,
    first_part,
    rebuild_search,
    retain,
    scores_of,
    seed_archives,
)
from cycleqd.steps.sources import take_expert
from cycleqd.steps.training_data import gather_training_data, training_data

__all__ = [
    "aggregate",
    "asked",
    "breed",
    "commit",
    "compared",
    "current_search",
    "derive_all_data",
    "derive_baselines",
    "derive_experts",
    "first_part",
    "gather_training_data",
    "rebuild_search",
    "refine",
    "retain",
    "scores_of",
    "seed_archives",
    "take_expert",
    "train",
    "train_on_all_data",
    "training_data",
]
