"""The state of a run's search, rebuilt from its commit records.

A search is never saved. It is asked and told again what it was asked and told before, which takes milliseconds a
thousand children and works for every search, also where a library holds the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cycleqd.run.names import regmean_id
from cycleqd.run.records import GenerationRecord, IndividualRecord, SeedRecord, means
from cycleqd.run.store import RunStore
from cycleqd.search import Known, Recipe, Search, Start, build_search
from cycleqd.search.archive import Archives, grids_from_experts


def recipe_of(record: IndividualRecord) -> Recipe:
    """How an individual was made, as a search says it."""
    merge, mutation = record.merge, record.mutation
    return Recipe(tuple(record.parents), tuple(record.coefficients), record.archive, merge, mutation)


def search_begun(store: RunStore, seed: SeedRecord) -> Search:
    """The run's search before its first child: archives with the experts alone."""
    config = store.config()
    grid = config.grid
    experts = {expert: means(seed.scores[expert]) for expert in seed.experts}
    grids = grids_from_experts(list(experts.values()), bins=grid.bins, lower=grid.lower, upper=grid.upper)
    offered = {one: means(seed.scores[one]) for one in seed.offered}
    archives = Archives.seeded(config.skill_names, grids, offered)
    samples = tuple(seed.scores[seed.experts[0]][skill].n for skill in config.skill_names)
    # A run may be prolonged, but a search that plans with its budget must not come to plan otherwise in hindsight.
    budget = max(1, store.first_config().generations)
    shares = tuple(map(regmean_id, config.skill_names)) if config.uses_regmean else ()
    known = tuple(Known(one, recipe_of(store.individual(one)), means(seed.scores[one])) for one in seed.known)
    start = Start(config.seed, budget, archives, tuple(seed.experts), samples, config.blocks, shares, known)
    return build_search(config, start)


def search_after_each(
    store: RunStore, seed: SeedRecord, records: Sequence[GenerationRecord]
) -> Iterator[tuple[int, Search]]:
    """The search after each generation; one object, which changes from step to step."""
    search = search_begun(store, seed)
    for record in records:
        search.ask(record.index)
        search.tell(record.index, record.individual, means(record.scores))
        yield record.generation, search


def search_after_all(store: RunStore, seed: SeedRecord) -> Search:
    """The search after the last committed generation."""
    search = search_begun(store, seed)
    for _, last in search_after_each(store, seed, store.generations()):
        search = last
    return search
