"""The rows of the report's tables: whom a run compares, from the base to the final model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cycleqd.run.names import AGGREGATE, ALL_DATA, AVERAGE, BASE, MERGED, expert_id


class Compared(NamedTuple):
    """Whom a run has to show.

    Attributes:
        skills: In the order of the cycle.
        baselines: The individual of each baseline by its label, in the order of the configuration.
        elites: The best individual of each skill's archive, by skill.
    """

    skills: Sequence[str]
    baselines: Mapping[str, str]
    elites: Mapping[str, str]


class RowKind(NamedTuple):
    """Rows of one kind. A row is called ``kind``, or ``kind:label`` where there may be several.

    Attributes:
        individuals: Whom the rows show, by label; the label is empty where there is one row.
        merge: Whether it is a merge of the experts without a search, to which the final model is held.
        searched: Whether the search found it, so that all children were its price.
    """

    individuals: Callable[[Compared], Mapping[str, str]]
    merge: bool = False
    searched: bool = False


def _one(identifier: str) -> Callable[[Compared], Mapping[str, str]]:
    return lambda _: {"": identifier}


ROW_KINDS: Final[Mapping[str, RowKind]] = {
    "base": RowKind(_one(BASE)),
    "expert": RowKind(lambda compared: {skill: expert_id(skill) for skill in compared.skills}),
    "all-data": RowKind(_one(ALL_DATA)),
    "average": RowKind(_one(AVERAGE), merge=True),
    "baseline": RowKind(lambda compared: compared.baselines, merge=True),
    "elite": RowKind(
        lambda compared: {skill: compared.elites[skill] for skill in compared.skills if skill in compared.elites},
        searched=True,
    ),
    "merged": RowKind(_one(MERGED), searched=True),
    "cycleqd": RowKind(_one(AGGREGATE), searched=True),
}
"""All kinds by name, in the order of the tables. Another kind is another line."""


def rows_of(compared: Compared) -> dict[str, str]:
    """All rows of a run in the order of the tables, and the individual that each shows."""
    return {
        f"{kind}:{label}" if label else kind: individual
        for kind, row in ROW_KINDS.items()
        for label, individual in row.individuals(compared).items()
    }


def kind_of(row: str) -> RowKind:
    """The kind of a row by its name.

    Raises:
        KeyError: There is no such kind.
    """
    return ROW_KINDS[row.partition(":")[0]]


def in_order(rows: Iterable[str], skills: Sequence[str], baselines: Iterable[str]) -> list[str]:
    """Rows in the order of the tables.

    Args:
        rows: Names of rows.
        skills: In the order of the cycle.
        baselines: The rows ``baseline:<label>``, in their order.
    """
    labels = {name.partition(":")[2]: name for name in baselines}
    everything = rows_of(Compared(skills, labels, {skill: skill for skill in skills}))
    wanted = set(rows)
    return [row for row in everything if row in wanted]
