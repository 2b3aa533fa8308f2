"""Runs of one seed share what comes before the search: experts, task vectors, baselines, and their scores."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence

from cycleqd.baselines import candidates
from cycleqd.config import ConfigError
from cycleqd.evaluation.agreement import stale_parts
from cycleqd.run.base_identity import BaseDiffers, refuse_other_base
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
from cycleqd.run.records import EvaluationRecord
from cycleqd.run.store import RecordUnreadable, RunStore
from cycleqd.steps.sources import SourceDiffers, refuse_other_sources
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import StoreError

log = logging.getLogger(__name__)

SHARED = ("seed", "model", "skills", "experts", "regmean", "uses_regmean")
"""Sections of a configuration that decide on the experts and on what their scores mean."""


class CannotShare(StoreError):
    """Two runs have, or would train, different experts; the text says why. Nothing was copied."""


def take_experts(ws: Workspace, sources: Sequence[RunStore]) -> tuple[RunStore, int] | None:
    """Copies experts, baselines and their scores from the first run that can give them.

    Scores that this process would not repeat are left behind, and measured anew. A run with other experts than this
    one is to have is passed over, and logged.

    Args:
        ws: The run that is to have them; its base and scores are admitted.
        sources: Runs of the same seed (`cycleqd.experiment.siblings.givers`).

    Returns:
        The run that gave them and the number of objects copied; None where there was none.
    """
    evaluator = ws.evaluator
    baselines = tuple(candidate.id for candidate in candidates(ws.config.baselines))
    for source in sources:
        try:
            refuse_other_sources(source, ws.config)
            copied = take_over(
                source,
                ws.store,
                baselines,
                repeats=lambda record: not stale_parts(record, evaluator.skills, evaluator.fingerprint),
            )
        except (CannotShare, RecordUnreadable, SourceDiffers) as error:  # before anything is copied
            log.warning("run %s is passed over: %s", source.run_id, error)
            continue
        return source, copied
    return None


def take_over(
    source: RunStore,
    target: RunStore,
    baselines: tuple[str, ...] = (),
    *,
    repeats: Callable[[EvaluationRecord], bool] = lambda record: True,
) -> int:
    """Copies what a run of the same seed has made before its search into another one that has begun.

    Keys are those that the target would write itself, so it finds the work done. What is there already is kept.

    Args:
        source: A run whose experts are trained.
        target: The run that is to go on with them; this process holds its lease.
        baselines: Ids of the baselines that the target compares with.
        repeats: Whether this process would measure a score again as it is; others are left behind.

    Returns:
        The number of objects copied.

    Raises:
        CannotShare: The runs differ in what decides on the experts, or the target has trained experts of its own.
    """
    if why := _why_not(source, target):
        raise CannotShare(f"runs {source.run_id!r} and {target.run_id!r} cannot share experts: {why}")
    ours = target.first_config()
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
            if (name := evaluation_name(key)) and repeats(source.record(EvaluationRecord, key)):
                keys += [episodes_key(*name), evaluation_key(*name)]
    return sum(_copy(source, target, key) for key in keys)


def _why_not(source: RunStore, target: RunStore) -> str:
    """Why the experts of one run cannot be those of another; empty where they can."""
    ours = target.first_config()
    try:
        theirs, base = source.first_config(), source.base()
    except (ConfigError, RecordUnreadable) as error:  # of another version
        return str(error)
    if different := [name for name in SHARED if getattr(theirs, name) != getattr(ours, name)]:
        return f"they differ in {', '.join(different)}"
    known = target.base()
    if base is not None and known is not None:
        try:
            refuse_other_base(source.run_id, base, known)
        except BaseDiffers as error:
            return str(error)
    # Two trainings need not agree in every bit, and the experts of a run have common bases: never mix two sets.
    keys = [expert_key(skill, name) for skill in ours.skill_names for name in ("summary.json", "source.json")]
    own = [key for key in keys if target.exists(key)]
    if any(not source.exists(key) or source.read_bytes(key) != target.read_bytes(key) for key in own):
        return f"{target.run_id!r} has experts of its own"
    return ""


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
