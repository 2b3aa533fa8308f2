"""What the children of a run took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cycleqd.config import RunConfig
from cycleqd.run.names import REFINED, expert_key
from cycleqd.run.records import GenerationRecord
from cycleqd.run.store import RunStore


class Trace(NamedTuple):
    """What one child took, in seconds.

    Attributes:
        coordinator: Proposing, merging, committing: one child after the other, whatever evaluators there are.
        engine: The evaluator's engine generated.
        rest: The evaluator's time besides: loading weights, sandboxes, judges, writing.
        tokens: Generated.
        machine: What the machine would have taken with all of its cores busy, for the child and all else that it did;
            None where it was not measured.
    """

    coordinator: float
    engine: float
    rest: float
    tokens: int
    machine: float | None = None


def traces_of(store: RunStore) -> list[Trace]:
    """The traces of a run's children, in their order; those of older versions from their phases."""
    return [_trace(store, record) for record in store.generations()]


def bytes_per_child(store: RunStore, traces: Sequence[Trace]) -> float | None:
    """What a child left on disk on average, or None where the run lies in a bucket or has no children.

    Counted is what grows with the children: recipes, genomes, evaluations, commit records, archives.
    """
    if not traces or not store.is_local:
        return None
    root = store.local("config.json").parent
    folders = ("individuals", "evaluations", "generations", "archives")
    sizes = (file.stat().st_size for folder in folders for file in (root / folder).rglob("*") if file.is_file())
    # Experts, baselines and the final model are counted with them: an upper bound.
    return sum(sizes) / len(traces)


def refinement_seconds(store: RunStore, config: RunConfig) -> float | None:
    """What the refinement of a configuration would train at most, as fast as a run has trained.

    It learns one episode of each optimization sample that is solved, so at most as many as there are samples. Where
    the run was refined, that training is the model; else its experts'.

    Args:
        store: The run whose trainings are the model.
        config: What is planned.

    Returns:
        Seconds, 0 without refinement; None where the run has trained nothing, or the number of samples is not given.
    """
    if not config.refinement.epochs:
        return 0.0
    samples = [config.counts(skill)["optimization"] for skill in config.skill_names]
    refined = trainings(store, [REFINED])
    summaries = refined or trainings(store, store.config().skill_names)
    if not summaries or None in samples:
        return None
    each = sum(one["seconds"] for one in summaries) / sum(one["conversations"] for one in summaries)
    return float(config.refinement.epochs * sum(filter(None, samples)) * each)


def trainings(store: RunStore, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the finished trainings of a run did, as `cycleqd.experts.TrainingSummary` has it."""
    keys = (expert_key(name, "summary.json") for name in names)
    return [store.read_json(key) for key in keys if store.exists(key)]


def _trace(store: RunStore, record: GenerationRecord) -> Trace:
    found = (store.evaluation(record.genome, skill, record.part) for skill in record.scores)
    tokens = sum(one.tokens for one in found if one is not None)
    split, seconds = record.split, record.seconds
    machine = None if record.load is None else record.load * seconds.total
    if split is None:
        # An older record's `merge` holds the load into the engine, too: how much of it is not known.
        return Trace(seconds.other + seconds.merge, seconds.generate, seconds.sandbox, tokens, machine)
    # Where another process scored, its idle time is what it waited, and the simulation has waits of its own.
    idle = 0.0 if split.evaluator else split.idle
    return Trace(
        split.propose + split.merge + idle,
        split.prefill + split.decode,
        split.transfer + split.sandbox + split.judge + split.store,
        tokens,
        machine,
    )
