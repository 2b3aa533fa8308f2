"""The search as a discrete-event simulation: one coordinator, some evaluators, children in flight."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, NamedTuple

from cycleqd.faults import MendableFault
from cycleqd.planning.traces import Trace


class SimulatorMissing(MendableFault):
    """The package that simulates is not installed; the text has the command that installs it."""


class Simulated(NamedTuple):
    """What came out.

    Attributes:
        seconds: From the first child to the last commit.
        busy: The share of the evaluators' time in which their engines generated, in [0, 1].
        tokens: Generated.
    """

    seconds: float
    busy: float
    tokens: int

    def lasting(self, seconds: float) -> Simulated:
        """The same search, but so long at least: engines generate no longer, and wait for the rest."""
        if seconds <= self.seconds:
            return self
        return self._replace(seconds=seconds, busy=self.busy * self.seconds / seconds)


def simulate(children: Sequence[Trace], *, evaluators: int, in_flight: int, ordered: bool = True) -> Simulated:
    """Simulates a search, in which child i is bred when i − `in_flight` + 1 children are committed.

    Args:
        children: What each child takes, in their order.
        evaluators: Children that are scored at a time, at least 1.
        in_flight: Children that are under way at a time, at least `evaluators`.
        ordered: Whether they are committed in their order, or as they complete.

    Raises:
        SimulatorMissing: simpy is not installed.
        ValueError: There are fewer children in flight than evaluators.
    """
    if not 1 <= evaluators <= in_flight:
        raise ValueError(f"expected 1 <= evaluators <= children in flight, got {evaluators} and {in_flight}")
    try:
        import simpy
    except ImportError:
        raise SimulatorMissing("cycleqd plan needs simpy: pip install 'cycleqd[plan]'") from None
    world = simpy.Environment()
    coordinator, engines = simpy.Resource(world, 1), simpy.Resource(world, evaluators)
    committed = [world.event() for _ in children]  # the first commit, the second, ...
    commits = count()

    def child(number: int) -> Generator[Any, Any, None]:
        took = children[number]
        if number >= in_flight:
            yield committed[number - in_flight]
        with coordinator.request() as turn:
            yield turn
            yield world.timeout(took.coordinator)
        with engines.request() as engine:
            yield engine
            yield world.timeout(took.engine + took.rest)
        if ordered and number:  # whoever is faster
            yield committed[number - 1]
        committed[next(commits)].succeed()

    for number in range(len(children)):
        world.process(child(number))
    world.run()
    seconds = float(world.now)
    engine_seconds = sum(took.engine for took in children)
    busy = engine_seconds / (seconds * evaluators) if seconds else 0.0
    return Simulated(seconds, busy, sum(took.tokens for took in children))
