"""Whether the search can begin: its class is there, and the individual that it names will be."""

from __future__ import annotations

from cycleqd.baselines import candidates
from cycleqd.config import RunConfig
from cycleqd.faults import MendableFault
from cycleqd.preflight.finding import Check
from cycleqd.run.names import ALL_DATA, AVERAGE, expert_id, regmean_id
from cycleqd.run.store import RunStore
from cycleqd.seams import SEARCHES
from cycleqd.storage import StoreError


class SearchUnfit(MendableFault):
    """The search could not begin, or not score whom it names; the text names the setting."""


def refuse_unfit_search(config: RunConfig) -> None:
    """For a start that no preflight came before, as from Prefect's page: else it is found out after the experts.

    Raises:
        SearchUnfit: `check_search` finds a fault.
    """
    found = check_search(config)
    if not found.ok:
        raise SearchUnfit(f"run {config.run_id!r}: {found.detail}: {found.remedy}")


def check_search(config: RunConfig) -> Check:
    """Loads the search's class, which an installed package may offer, and looks for whom it is to score."""
    try:
        SEARCHES.load(config.search.kind)
    except ValueError as error:
        return Check("search", False, str(error), "mend the package, or set search.kind to another one")
    named, there = config.search.named_individual, before_the_search(config)
    if named is not None and named not in there and not is_made(config, named):
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


def is_made(config: RunConfig, identifier: str) -> bool:
    """Whether the run was begun and has the individual."""
    try:
        return RunStore(config.storage, config.run_id).has_individual(identifier)
    except (OSError, ValueError, StoreError):  # that storage cannot be read is another check's finding
        return False
