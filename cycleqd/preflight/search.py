"""Whether the search can begin: its class is there, and the individual that it names will be."""

from __future__ import annotations

from cycleqd.baselines import candidates
from cycleqd.config import RunConfig
from cycleqd.preflight.finding import Check
from cycleqd.run.names import ALL_DATA, AVERAGE, expert_id, regmean_id
from cycleqd.seams import SEARCHES


def check_search(config: RunConfig) -> Check:
    """Loads the search's class, which an installed package may offer, and looks for whom it is to score."""
    try:
        SEARCHES.load(config.search.kind)
    except ValueError as error:
        return Check("search", False, str(error), "mend the package, or set search.kind to another one")
    named, there = config.search.named_individual, before_the_search(config)
    if named is not None and named not in there:
        text = f"search.individual is {named!r}, and no such individual is made"
        return Check("search", False, text, f"set it to one of {', '.join(there)}")
    return Check("search", True, config.search.kind)


def before_the_search(config: RunConfig) -> list[str]:
    """Ids of the individuals that a run has before its first child."""
    skills = config.skill_names
    return [
        *map(expert_id, skills),
        AVERAGE,
        *(map(regmean_id, skills) if config.uses_regmean else ()),
        *([ALL_DATA] if config.comparison.all_data else ()),
        *(candidate.id for candidate in candidates(config.baselines)),
    ]
