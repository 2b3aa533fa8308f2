"""Runs of one seed share what comes before the search: experts, task vectors, baselines, and their scores."""

from __future__ import annotations

import shutil

from cycleqd.run.names import (
    ALL_DATA,
    AVERAGE,
    BASE,
    BASE_KEY,
    BASES_KEY,
    REGMEAN_KEY,
    SIMILARITY_KEY,
    SPECTRAL_KEY,
    TRUNCATED,
    episodes_key,
    evaluation_key,
    evaluation_name,
    expert_id,
    expert_key,
    genome_key,
    individual_key,
    own_bases_key,
    regmean_id,
    spectral_key,
)
from cycleqd.run.store import RunStore
from cycleqd.storage import StoreError

SHARED = ("seed", "model", "skills", "experts", "regmean", "uses_regmean")
"""Sections of a configuration that decide on the experts and on what their scores mean."""


def take_over(source: RunStore, target: RunStore, baselines: tuple[str, ...] = ()) -> int:
    """Copies what a run of the same seed has made before its search into another one that has begun.

    Keys are those that the target would write itself, so it finds the work done. What is there already is kept.

    Args:
        source: A run whose experts are trained.
        target: The run that is to go on with them; this process holds its lease.
        baselines: Ids of the baselines that the target compares with.

    Returns:
        The number of objects copied.

    Raises:
        StoreError: The runs differ in what decides on the experts.
    """
    theirs, ours = source.first_config(), target.first_config()
    if different := [name for name in SHARED if getattr(theirs, name) != getattr(ours, name)]:
        raise StoreError(
            f"runs {source.run_id!r} and {target.run_id!r} cannot share experts: they differ in {', '.join(different)}"
        )
    individuals = [
        *map(expert_id, ours.skill_names),
        *map(regmean_id, ours.skill_names),
        ALL_DATA,
        AVERAGE,
        *baselines,
    ]
    known = [one for one in individuals if source.has_individual(one)]
    keys = [BASE_KEY, BASES_KEY, SIMILARITY_KEY, REGMEAN_KEY]
    if source.exists(SPECTRAL_KEY):
        keys += [*map(spectral_key, source.read_json(SPECTRAL_KEY)["parameters"]), SPECTRAL_KEY]
    for skill in (*ours.skill_names, ALL_DATA):
        # A model counts only with its summary, which comes last.
        names = ("demonstrations.json", "data.json", "source.json", TRUNCATED, "model", "summary.json")
        keys += [expert_key(skill, name) for name in names]
    for one in known:
        keys += [own_bases_key(one), genome_key(one), individual_key(one)]
    for genome in (BASE, *(source.individual(one).genome for one in known)):
        for key in source.keys(f"evaluations/{genome}"):
            if name := evaluation_name(key):
                keys += [episodes_key(*name), evaluation_key(*name)]
    return sum(_copy(source, target, key) for key in keys)


def _copy(source: RunStore, target: RunStore, key: str) -> bool:
    if target.exists(key) or not source.exists(key):
        return False
    path = source.local(key)
    with target.writing(key, replace=True) as copy:
        if path.is_dir():
            shutil.copytree(path, copy, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, copy)
    return True
