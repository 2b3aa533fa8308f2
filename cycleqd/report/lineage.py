"""Where an individual comes from: its family tree, and how much of each expert is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cycleqd.run.names import ALL_DATA, regmean_id
from cycleqd.run.records import IndividualRecord


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A node of a family tree.

    Attributes:
        record: The individual's recipe.
        weight: Its share of its child's crossover (the root's is 1).
        parents: Its own parents; empty for experts, and where the tree is cut.
        cut: Whether its parents are left out: they are drawn elsewhere in the tree, or lie too deep.
    """

    record: IndividualRecord
    weight: float
    parents: tuple[Ancestor, ...]
    cut: bool


def family(identifier: str, read: Callable[[str], IndividualRecord], *, depth: int = 6) -> Ancestor:
    """The family tree of an individual; an ancestor met twice is followed once.

    Args:
        identifier: The individual's id.
        read: Gives a recipe by id, e.g. `RunStore.individual`.
        depth: Levels of parents at most, at least 0.
    """
    seen: set[str] = set()

    def grow(name: str, weight: float, left: int) -> Ancestor:
        record = read(name)
        cut = bool(record.parents) and (name in seen or left == 0)
        parents: tuple[Ancestor, ...] = ()
        if record.parents and not cut:
            seen.add(name)
            parents = tuple(grow(parent, share, left - 1) for parent, share in _merged(record).items())
        return Ancestor(record, weight, parents, cut)

    return grow(identifier, 1.0, depth)


def expert_shares(identifier: str, read: Callable[[str], IndividualRecord]) -> dict[str, float]:
    """How much of each expert's task vector the crossovers carried into an individual, mutations left aside.

    Crossover is linear, so the shares obey the same recursion as the task vectors; they add up to 1. A share may be
    negative where a mixing coefficient was.
    """
    known: dict[str, dict[str, float]] = {}
    waiting = [identifier]
    while waiting:  # a loop, as a lineage may be deeper than Python's stack
        record = read(waiting[-1])
        missing = [parent for parent in record.parents if parent not in known]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        shares: dict[str, float] = {} if record.parents else {record.id: 1.0}
        for parent, weight in _merged(record).items():
            for expert, share in known[parent].items():
                shares[expert] = shares.get(expert, 0.0) + weight * share
        known[record.id] = shares
    return dict(sorted(known[identifier].items()))


def describe(record: IndividualRecord) -> str:
    """An individual's origin in one line."""
    if record.archive is None:
        if not record.parents:
            return _without_parents(record.id)
        after = "" if record.generation is None else f" after generation {record.generation}"
        if "kind" in record.mutation:
            of = ", ".join(dict.fromkeys(record.parents))
            return f"{record.mutation['kind']} of {of}{after}{_draws(record)}"
        how = "".join(f", {name} {_short(value)}" for name, value in record.merge.items() if name != "method")
        method = f" by {record.merge['method']}{how}" if record.merge else ""
        return f"merged{after}{method} from {', '.join(dict.fromkeys(record.parents))}"
    where = f"generation {record.generation}, archive {record.archive}"
    return f"{where}, {record.mutation.get('kind', 'no mutation')}{_draws(record)}"


def _without_parents(identifier: str) -> str:
    if identifier == ALL_DATA:
        return "fine-tuned on the data of all skills"
    share = regmean_id("")
    return f"share of RegMean of {identifier.removeprefix(share)}" if identifier.startswith(share) else "expert"


def _draws(record: IndividualRecord) -> str:
    """What a mutation was, in brackets; the genome that it changed is that of the parent."""
    draws = ", ".join(f"{key} {_short(value)}" for key, value in record.mutation.items() if key not in ("kind", "of"))
    return f" ({draws})" if draws else ""


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _merged(record: IndividualRecord) -> dict[str, float]:
    """Normalised coefficients by parent; one who is both parents appears once."""
    coefficients = record.coefficients or [1.0] * len(record.parents)
    total = sum(coefficients)
    weights: dict[str, float] = {}
    for parent, coefficient in zip(record.parents, coefficients, strict=True):
        weights[parent] = weights.get(parent, 0.0) + coefficient / total
    return weights
