"""Baselines: merges of the experts without training or search, each at a few scales.

They are what a user would do instead of a search, so every report compares the final model with them. Each scale of
each merge of `RunConfig.baselines` is an individual, scored on the optimization split as the experts are; of each
merge the scale with the best mean goes to the test split. They are no part of the archives.

Public: `candidates` (the individuals of a configuration), `choices` (whom the scores chose), their
task vectors are made by a step of the run (`cycleqd.steps.baselines`).
"""

from cycleqd.baselines.choice import Choice, choices
from cycleqd.baselines.naming import Candidate, candidates

__all__ = ["Candidate", "Choice", "candidates", "choices"]
