"""The operators of the search: how parents are drawn, mixed, mutated, and elites weighed in the final model.

Each is a small immutable class behind a protocol, made from plain keyword arguments and chosen by name from a table of
`cycleqd.seams`:

* `Sampler` (`SAMPLERS`): which two individuals of an archive become parents;
* `Crossover` (`CROSSOVERS`): how two task vectors become a child's;
* `Mutation` (`MUTATIONS`): how a child's task vector is changed at random;
* `Aggregation` (`AGGREGATIONS`): how much each archive's elite counts in the final model.

All randomness comes from the generator that is passed in (`cycleqd.randomness.rng`).
"""

from cycleqd.search.operators.aggregation import Aggregation, SoftmaxAggregation, mean
from cycleqd.search.operators.crossover import Crossover, CrossoverDraw, LinearCrossover, MergeCrossover
from cycleqd.search.operators.mutation import GaussianMutation, Mutation, NoMutation, SvdMutation
from cycleqd.search.operators.sampling import EliteSampling, RandomSampling, Sampler

__all__ = [
    "Aggregation",
    "Crossover",
    "CrossoverDraw",
    "EliteSampling",
    "GaussianMutation",
    "LinearCrossover",
    "MergeCrossover",
    "Mutation",
    "NoMutation",
    "RandomSampling",
    "Sampler",
    "SoftmaxAggregation",
    "SvdMutation",
    "mean",
]
