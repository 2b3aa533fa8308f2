"""What a search is: it says which individual comes next, and learns what its scores were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cycleqd.search.archive import Archives, Win


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an individual is made; enough to make its task vector again, bit for bit.

    Attributes:
        parents: Ids of the individuals that it is made of, at least one.
        coefficients: What each parent's task vector is multiplied by, one per parent.
        archive: The skill whose archive the parents came from; None where no archive was asked.
        merge: ``method`` and settings of a merge method (`cycleqd.search.operators.merging`) that takes the
            coefficients as its weights; empty for the plain sum of the parents times their coefficients.
        mutation: ``kind`` and ``seed`` of the mutation; empty where there is none.
        block: The block of optimization samples that it meets; always 0 where the split is not cut into blocks.
        again: The id of an individual that is scored on another block; None where a new one is made.
    """

    parents: tuple[str, ...]
    coefficients: tuple[float, ...]
    archive: str | None = None
    merge: Mapping[str, float | int | str] = field(default_factory=dict)
    mutation: Mapping[str, float | int | str] = field(default_factory=dict)
    block: int = 0
    again: str | None = None

    def __post_init__(self) -> None:
        if not self.parents or len(self.parents) != len(self.coefficients):
            raise ValueError(
                f"a recipe needs one coefficient per parent, got {len(self.coefficients)} for {len(self.parents)}"
            )


class Known(NamedTuple):
    """An individual whose scores are known before the search, and which no archive was offered.

    Attributes:
        individual: Its id.
        recipe: How it was made.
        scores: In [0, 1], one for each skill, on as many samples as a child meets.
    """

    individual: str
    recipe: Recipe
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Start:
    """What every search begins with.

    Attributes:
        seed: The run's seed, at least 0.
        budget: Evaluations that the run is to make, at least 1; a search may plan with it.
        archives: Archives to which the experts were offered. The search owns them from here on.
        experts: Ids of the experts, in the order of the archives' skills.
        samples: Samples that a child meets of each skill, in the order of the archives' skills.
        shares: Ids of the experts' shares of RegMean, in the same order; a search may combine them in their place.
            Empty where the run has none.
        known: Baselines whose scores a search may learn from.
        blocks: Blocks that the optimization split has, at least 1. What begins a run has met block 0.
    """

    seed: int
    budget: int
    archives: Archives
    experts: tuple[str, ...]
    samples: tuple[int, ...]
    blocks: int = 1
    shares: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()


class Search(Protocol):
    """Proposes children and learns from their scores; pure in the start, the indices and what was told before.

    A child is usually a new individual. It may also be an earlier one that meets another block of samples. Children
    are asked for in the order of their indices, from 0, and each is told once. Several may be asked for before the
    first is told, and they may be told in another order (`cycleqd.search.in_flight`). A library may hold the state: it
    is never saved, but rebuilt by asking and telling again (`cycleqd.run.replay`).
    """

    @property
    def archives(self) -> Archives:
        """Everything that was told, as elites by cell: the report shows it, also where the search does not use it."""
        ...

    def ask(self, index: int) -> Recipe:
        """The recipe of child `index`; the same when it is asked for again before its scores are told."""
        ...

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Takes a child's scores.

        Args:
            index: Which child, asked for before.
            individual: Its id.
            scores: Its scores, one for each skill, in [0, 1].

        Returns:
            For each skill, what it won in that skill's archive, or None.

        Raises:
            ValueError: The scores are not those of the archives' skills.
        """
        ...

    def answer(self) -> Recipe:
        """The recipe of the final model, from everything that was told."""
        ...


def takes_back(search: Search) -> bool:
    """Whether the archives may hold an individual again that they let go.

    Those that a search fills anew from everything that was told do. It says so: its ``takes_back`` is True.
    """
    return bool(getattr(search, "takes_back", False))
