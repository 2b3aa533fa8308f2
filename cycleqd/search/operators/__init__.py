"""The operators of the search: how parents are drawn, mixed, mutated, and elites folded into the final model.

Each is a small immutable class behind a protocol, made from plain keyword arguments and chosen by name from a table:

* `SAMPLERS`: which two individuals of an archive become parents;
* `CROSSOVERS`: how two task vectors become a child's;
* `MUTATIONS`: how a child's task vector is changed at random;
* `AGGREGATIONS`: how the archives' elites become one model.

All randomness comes from the generator that is passed in (`cycleqd.randomness.rng`).
"""

from collections.abc import Callable, Mapping

from cycleqd.search.operators.aggregation import Aggregate, Aggregation, SoftmaxAggregation, mean
from cycleqd.search.operators.crossover import Crossover, CrossoverDraw, LinearCrossover, MergeCrossover
from cycleqd.search.operators.mutation import GaussianMutation, Mutation, NoMutation, SvdMutation
from cycleqd.search.operators.sampling import EliteSampling, RandomSampling, Sampler

SAMPLERS: Mapping[str, Callable[..., Sampler]] = {
    "elite": EliteSampling,  # CycleQD, elite sampling
    "random": RandomSampling,  # CycleQD, the ablation
}
CROSSOVERS: Mapping[str, Callable[..., Crossover]] = {
    "linear": LinearCrossover,  # CycleQD, model merging as crossover
    "merge": MergeCrossover,  # ours: any row of `cycleqd.search.operators.merging.METHODS`, with the same coefficients
}
MUTATIONS: Mapping[str, Callable[..., Mutation]] = {
    "svd": SvdMutation,  # CycleQD, SVD-based mutation
    "gaussian": GaussianMutation,  # CycleQD, the ablation
    "none": NoMutation,  # CycleQD, the ablation
}
AGGREGATIONS: Mapping[str, Callable[..., Aggregation]] = {
    "softmax": SoftmaxAggregation,  # CycleQD, model aggregation
}

__all__ = [
    "AGGREGATIONS",
    "CROSSOVERS",
    "MUTATIONS",
    "SAMPLERS",
    "Aggregate",
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
