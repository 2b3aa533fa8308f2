"""Several children at a time: each is asked for before those that are under way have scores."""

from __future__ import annotations

from collections.abc import Mapping

from cycleqd.search.archive import Archives, Win
from cycleqd.search.protocol import Recipe, Search


class InFlight:
    """A `Search` that asks another one for `count` children at a time.

    Child i is asked for when the scores of all children up to i − `count` are told, neither earlier nor later. So what
    is proposed depends on nothing but the scores: whoever finishes first, the run is the same, and a search that is
    asked and told again in order goes on as the undisturbed one.

    Args:
        search: Knows what to propose.
        count: Children under way at a time, at least 1.
    """

    def __init__(self, search: Search, count: int) -> None:
        if count < 1:
            raise ValueError(f"at least 1 child is under way, got {count}")
        self._search, self._count = search, count
        self._asked: list[Recipe] = []
        self._told = 0

    @property
    def archives(self) -> Archives:
        """The other search's."""
        return self._search.archives

    def ask(self, index: int) -> Recipe:
        """See `Search.ask`.

        Raises:
            ValueError: More than `count` children would be under way.
        """
        if index >= self._told + self._count:
            raise ValueError(
                f"child {index} is asked for while {self._told} have scores: {self._count} are in flight at most"
            )
        self._ask_ahead()
        return self._asked[index]

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """See `Search.tell`.

        Raises:
            ValueError: As `Search.tell`, or an earlier child has no scores yet.
        """
        if index != self._told:
            raise ValueError(f"child {index} is told, but child {self._told} is next")
        self._ask_ahead()
        won = self._search.tell(index, individual, scores)
        self._told += 1
        return won

    def answer(self) -> Recipe:
        """See `Search.answer`."""
        return self._search.answer()

    def _ask_ahead(self) -> None:
        for index in range(len(self._asked), self._told + self._count):
            self._asked.append(self._search.ask(index))
