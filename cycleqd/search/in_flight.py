"""Several children at a time: each is asked for before those that are under way have scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cycleqd.search.archive import Archives, Win
from cycleqd.search.protocol import Recipe, Search, takes_back


class InFlight:
    """A `Search` that asks another one for `count` children at a time.

    Child i is asked for when i − `count` + 1 children are told, neither earlier nor later. In order, those are all
    children up to i − `count`: what is proposed depends on nothing but the scores, and whoever finishes first, the run
    is the same. Otherwise they are whoever finished first, and what is proposed depends on that, too. Either way a
    search that is asked and told again in the same order goes on as the undisturbed one.

    Args:
        search: Knows what to propose.
        count: Children under way at a time, at least 1.
        ordered: Whether children are told in their order.
    """

    def __init__(self, search: Search, count: int, *, ordered: bool = True) -> None:
        if count < 1:
            raise ValueError(f"at least 1 child is under way, got {count}")
        self._search, self._count, self._ordered = search, count, ordered
        self._asked: list[Recipe] = []
        self._told: set[int] = set()

    @property
    def archives(self) -> Archives:
        """The other search's."""
        return self._search.archives

    @property
    def takes_back(self) -> bool:
        """Whether the other search's archives take individuals back."""
        return takes_back(self._search)

    @property
    def pending(self) -> list[Recipe]:
        """What was proposed, and is not told yet."""
        return [recipe for index, recipe in enumerate(self._asked) if index not in self._told]

    def ask(self, index: int) -> Recipe:
        """See `Search.ask`.

        Raises:
            ValueError: More than `count` children would be under way.
        """
        if index >= len(self._told) + self._count:
            raise ValueError(
                f"child {index} is asked for while {len(self._told)} have scores: {self._count} are in flight at most"
            )
        self._ask_ahead()
        return self._asked[index]

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """See `Search.tell`.

        Raises:
            ValueError: As `Search.tell`, or the child is not under way, or, in order, not the next one.
        """
        if self._ordered and index != len(self._told):
            raise ValueError(f"child {index} is told, but child {len(self._told)} is next")
        if index in self._told:
            raise ValueError(f"child {index} is told twice")
        self.ask(index)
        won = self._search.tell(index, individual, scores)
        self._told.add(index)
        return won

    def answer(self) -> Recipe:
        """See `Search.answer`."""
        return self._search.answer()

    def _ask_ahead(self) -> None:
        for index in range(len(self._asked), len(self._told) + self._count):
            self._asked.append(self._search.ask(index))


def known_of(index: int, count: int) -> int:
    """How many children are told when a child is asked for.

    Args:
        index: The child.
        count: Children under way at a time.
    """
    return max(0, index - count + 1)


def under_way(told: Collection[int], count: int, total: int) -> list[int]:
    """The children that are asked for and not told, in their order.

    Args:
        told: Those that are told.
        count: Children under way at a time.
        total: Children in all.
    """
    return [index for index in range(min(len(told) + count, total)) if index not in told]
