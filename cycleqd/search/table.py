"""The searches by name, and how a configuration becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from cycleqd.config import CrossoverConfig, MutationConfig, RunConfig, SamplingConfig
from cycleqd.search.coefficients import CoefficientSearch, Combination
from cycleqd.search.operators import (
    MUTATIONS,
    SAMPLERS,
    Crossover,
    LinearCrossover,
    MergeCrossover,
    Mutation,
    Sampler,
    SoftmaxAggregation,
)
from cycleqd.search.protocol import Search, Start

Build = Callable[[Any, RunConfig, Start], Search]
"""(the row's class, configuration, start) -> search."""


class Row(NamedTuple):
    """One search.

    Attributes:
        target: ``module:Class``, imported when a search of this kind is built.
        build: Makes the search.
        source: Where it is described.
    """

    target: str
    build: Build
    source: str


def _archive_search(kind: Any, config: RunConfig, start: Start) -> Search:
    search: Search = kind(
        start,
        sampler=build_sampler(config.sampling),
        crossover=build_crossover(config.crossover),
        mutation=build_mutation(config.mutation),
        aggregation=SoftmaxAggregation(temperature=config.aggregation.temperature),
        elites=config.aggregation.elites,
    )
    return search


def _combination(config: RunConfig, start: Start) -> Combination:
    return Combination(start.experts, config.search.low, config.search.high, config.search.merge)


def _coefficient_search(*names: str, **more: Callable[[Start], int]) -> Build:
    """Makes a search whose proposer takes these of the configuration's `search` settings, and more of the start."""

    def build(kind: Any, config: RunConfig, start: Start) -> Search:
        combination = _combination(config, start)
        settings = {name: getattr(config.search, name) for name in names}
        settings |= {name: value(start) for name, value in more.items()}
        return CoefficientSearch(start, combination, kind(combination, seed=start.seed, **settings))

    return build


def _surrogate_search(kind: Any, config: RunConfig, start: Start) -> Search:
    search: Search = kind(start, _combination(config, start), initial=config.search.initial)
    return search


SEARCHES: Mapping[str, Row] = {
    "cycleqd": Row("cycleqd.search.cycleqd:CycleQD", _archive_search, "CycleQD, algorithm 1"),
    "qd": Row("cycleqd.search.cycleqd:ConventionalQD", _archive_search, "CycleQD, Table 2, row 1"),
    "random": Row("cycleqd.search.random_search:RandomProposer", _coefficient_search(), "the floor of any search"),
    "cma_es": Row(
        "cycleqd.search.cma_es:CmaEsProposer",
        _coefficient_search("sigma", "population"),
        "Hansen 2016; CycleQD, Table 1, row 9",
    ),
    "nsga2": Row(
        "cycleqd.search.nsga2:Nsga2Proposer",
        _coefficient_search("population", objectives=lambda start: len(start.archives.skills)),
        "Deb et al. 2002; CycleQD, Table 1, row 10",
    ),
    "policy_gradient": Row(
        "cycleqd.search.policy_gradient:PolicyGradientProposer",
        _coefficient_search("sigma", "population", "learning_rate"),
        "Williams 1992; our reading of CycleQD, Table 1, row 8",
    ),
    "surrogate": Row("cycleqd.search.surrogate:SurrogateSearch", _surrogate_search, "ours, after Gaier et al. 2018"),
}
"""All searches; a new one is a row here and a file beside this one."""


def build_search(config: RunConfig, start: Start) -> Search:
    """The search that a configuration names, before its first child."""
    row = SEARCHES[config.search.kind]
    module, _, name = row.target.partition(":")
    return row.build(getattr(import_module(module), name), config, start)


def build_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that a configuration names."""
    settings = {"alpha_low": config.alpha_low, "alpha_high": config.alpha_high} if config.kind == "elite" else {}
    return SAMPLERS[config.kind](**settings)


def build_crossover(config: CrossoverConfig) -> Crossover:
    """The crossover that a configuration names."""
    linear = LinearCrossover(mu=config.mu, sigma=config.sigma)
    return linear if config.kind == "linear" else MergeCrossover(config.kind, config.settings, linear)


def build_mutation(config: MutationConfig) -> Mutation:
    """The mutation that a configuration names."""
    settings: dict[str, dict[str, float | str]] = {
        "svd": {"w_max": config.w_max, "basis": config.basis},
        "gaussian": {"std": config.std},
        "none": {},
    }
    return MUTATIONS[config.kind](**settings[config.kind])
