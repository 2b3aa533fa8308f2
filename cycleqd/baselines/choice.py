"""Which scale of each baseline the optimization split chose: a function of the run's records alone."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from cycleqd.baselines.naming import Candidate, candidates
from cycleqd.run.store import RunStore
from cycleqd.skills.parts import Part, block


class Choice(NamedTuple):
    """A baseline at the scale that is compared.

    Attributes:
        candidate: The chosen one.
        mean: Its mean over all skills on the optimization split.
        evaluations: How many individuals were scored to choose it.
    """

    candidate: Candidate
    mean: float
    evaluations: int


def choices(store: RunStore) -> list[Choice]:
    """Of each baseline the scale with the highest mean over all skills on the optimization split.

    Of equal ones the first in the configuration is taken. A baseline whose scales are not all scored has none yet: so
    have all baselines of runs from before there were any.
    """
    config = store.config()
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates(config.baselines):
        groups[candidate.label].append(candidate)
    chosen = []
    for group in groups.values():
        part = block(0, config.search.block)
        means = [_mean(store, candidate.id, config.skill_names, part) for candidate in group]
        known = [mean for mean in means if mean is not None]
        if len(known) == len(group):
            best = known.index(max(known))
            chosen.append(Choice(group[best], known[best], len(group)))
    return chosen


def _mean(store: RunStore, identifier: str, skills: tuple[str, ...], part: Part) -> float | None:
    if not store.has_individual(identifier):
        return None
    genome = store.individual(identifier).genome
    found = [store.evaluation(genome, skill, part) for skill in skills]
    scores = [record.score.score for record in found if record is not None]
    return math.fsum(scores) / len(scores) if len(scores) == len(skills) else None
