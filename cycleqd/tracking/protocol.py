"""What a tracker is, and what it skips."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from cycleqd.faults import MendableFault


class TrackerMissing(MendableFault):
    """The package of a tracker is not installed; the text has the command that installs it."""


class Identity(NamedTuple):
    """Which run of a tracker belongs to which of ours.

    Attributes:
        run_id: The run's name, for people.
        key: Unique: a run that was removed and begun again under the same name is another one.
    """

    run_id: str
    key: str


class Row(NamedTuple):
    """Values of one step.

    Attributes:
        step: At least 0. Of an expert's losses the optimizer step, of all others the generation.
        values: By the metric's name.
    """

    step: int
    values: Mapping[str, float]


class Log(Protocol):
    """A tracker's run, opened. Every method may raise whatever the tracker's library does."""

    @property
    def address(self) -> str:
        """Where a person finds it."""

    def describe(self, settings: Mapping[str, str]) -> None:
        """Tells the run's settings, by path. What is known already stays."""

    def add(self, rows: Sequence[Row]) -> None:
        """Adds values; skips those of a name that has this step or a later one. Returns when they are kept."""

    def link(self, addresses: Mapping[str, str]) -> None:
        """Says where things lie: the report, the final model; the last address of a name counts."""

    def close(self, *, failed: bool) -> None:
        """Ends this start of the run; a later start may open it again."""


class Tracker(Protocol):
    """A row of `cycleqd.seams.TRACKERS`: settings, without anything that is open.

    Attributes:
        PACKAGE: The module that it imports.
        EXTRA: The extra of `cycleqd` that installs it.
    """

    PACKAGE: ClassVar[str]
    EXTRA: ClassVar[str]

    def open(self, run: Identity) -> Log:
        """The tracker's run, begun or continued."""


class Steps:
    """The last step that a tracker has of each name.

    Args:
        last: What it has already.
    """

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        self.last = dict(last or {})

    def news(self, rows: Iterable[Row]) -> list[Row]:
        """The rows without what the tracker has; empty ones are left out. They count as had from now on."""
        found = []
        for step, values in rows:
            new = {name: value for name, value in values.items() if step > self.last.get(name, -1)}
            self.last.update(dict.fromkeys(new, step))
            if new:
                found.append(Row(step, new))
        return found


def missing(kind: str, tracker: Tracker | type[Tracker]) -> str | None:
    """What is missing for a tracker and the command that installs it; None where nothing is."""
    if importlib.util.find_spec(tracker.PACKAGE) is not None:
        return None
    return f"the tracker {kind} needs the package {tracker.PACKAGE}: pip install 'cycleqd[{tracker.EXTRA}]'"
