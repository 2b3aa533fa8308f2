"""How a configuration becomes a search and its operators."""

from __future__ import annotations

from typing import cast

from cycleqd.config import CrossoverConfig, MutationConfig, RunConfig, SamplingConfig
from cycleqd.seams import AGGREGATIONS, CROSSOVERS, MUTATIONS, SAMPLERS, SEARCHES
from cycleqd.search.adaptive_sampling import AdaptiveSampling, ArchiveSearch, SamplingRules
from cycleqd.search.coefficients import Combination
from cycleqd.search.in_flight import InFlight
from cycleqd.search.operators import Aggregation, Crossover, LinearCrossover, Mutation, Sampler
from cycleqd.search.protocol import Search, Start


def build_search(config: RunConfig, start: Start) -> Search:
    """The search that a configuration names, before its first child.

    Its class gets `start` and, by name, what its constructor asks for (`cycleqd.seams.SEARCHES`).

    Raises:
        ValueError: The search asks for a setting that the configuration does not have.
    """
    aggregation: Aggregation = AGGREGATIONS.make(config.aggregation.kind, **config.aggregation.settings)
    search: Search = SEARCHES.make(
        config.search.kind,
        start,
        **config.search.settings,
        combination=build_combination(config, start.experts, start.shares),
        sampler=build_sampler(config.sampling),
        crossover=build_crossover(config.crossover),
        mutation=build_mutation(config.mutation),
        aggregation=aggregation,
        elites=config.aggregation.elites,
    )
    if config.search.in_flight > 1:
        return InFlight(search, config.search.in_flight, ordered=config.search.commit == "order")
    if config.noise.is_off:
        return search
    rules = SamplingRules(**config.noise.model_dump())
    return AdaptiveSampling(start, cast(ArchiveSearch, search), rules)


def build_combination(config: RunConfig, experts: tuple[str, ...], shares: tuple[str, ...]) -> Combination:
    """What the coefficients of a search over them are.

    Args:
        config: The run's.
        experts: Ids of the experts.
        shares: Ids of their shares of RegMean; empty where the run has none.
    """
    search = config.search
    return Combination(shares if search.merge == "regmean" else experts, search.low, search.high, search.merge)


def build_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that a configuration names."""
    sampler: Sampler = SAMPLERS.make(config.kind, **config.settings)
    return sampler


def build_crossover(config: CrossoverConfig) -> Crossover:
    """The crossover that a configuration names."""
    crossover: Crossover = CROSSOVERS.make(
        config.kind,
        **config.settings,
        method=config.kind,
        settings=config.merge,
        coefficients=LinearCrossover(mu=config.mu, sigma=config.sigma),
    )
    return crossover


def build_mutation(config: MutationConfig) -> Mutation:
    """The mutation that a configuration names."""
    mutation: Mutation = MUTATIONS.make(config.kind, **config.settings)
    return mutation
