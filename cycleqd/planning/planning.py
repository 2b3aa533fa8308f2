"""What a run would take, with all that was assumed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from cycleqd.planning.simulation import simulate
from cycleqd.planning.traces import Trace
from cycleqd.planning.whole import Besides
from cycleqd.randomness import rng

_REPETITIONS: Final = 20


class Plan(NamedTuple):
    """A search, planned.

    Attributes:
        generations: Children.
        evaluators: Children that are scored at a time.
        in_flight: Children that are under way at a time.
        seconds: Of the search; the median of the simulations.
        seconds_low: The shortest simulation.
        seconds_high: The longest simulation.
        busy: The share of the evaluators' time in which their engines generate, in [0, 1]. Of evaluators that wait for
            the processors of one machine, it counts what engines would take that do not.
        tokens: Generated.
        bytes: What the children leave in the store; None where nothing is known of it.
        cost: Of all evaluators for the whole time, in the price's currency; None without a price.
        refinement: Seconds that the training of the last step takes at most, after all others; None where nothing is
            known of it.
        whole: Seconds of the whole run, refinement included; None where nothing is known of the rest.
        assumptions: In words, one line each.
    """

    generations: int
    evaluators: int
    in_flight: int
    seconds: float
    seconds_low: float
    seconds_high: float
    busy: float
    tokens: int
    bytes: float | None
    cost: float | None
    refinement: float | None
    whole: float | None
    assumptions: tuple[str, ...]


def plan(
    traces: Sequence[Trace],
    *,
    source: str,
    generations: int,
    evaluators: int,
    in_flight: int,
    ordered: bool = True,
    shared: bool = False,
    seed: int = 0,
    tokens_per_second: float | None = None,
    bytes_each: float | None = None,
    price: float | None = None,
    refinement: float | None = 0.0,
    rest: Besides | None = None,
) -> Plan:
    """Plans a search whose children are like those of the traces.

    Args:
        traces: What children took; at least one.
        source: Where they are from, in words.
        generations: Children to plan, at least 1.
        evaluators: Children that are scored at a time, at least 1.
        in_flight: Children that are under way at a time; raised to `evaluators` where it is lower.
        ordered: Whether they are committed in their order, or as they complete.
        shared: Whether all evaluators are on one machine like that of the traces.
        seed: Of the draws from the traces.
        tokens_per_second: What an engine generates, in place of what it did in the traces; above 0.
        bytes_each: What a child leaves in the store.
        price: Of one evaluator for an hour.
        refinement: Seconds that the training of the last step takes at most, 0 without one; None where nothing is
            known of it.
        rest: What the run does besides; None where nothing is known of it.

    Raises:
        SimulatorMissing: simpy is not installed.
        ValueError: There are no traces.
    """
    if not traces:
        raise ValueError("no children to learn from: name a run that has finished generations, or give figures")
    assumptions = [
        f"each child takes what one of {len(traces)} children took, drawn at random ({source})",
        "the wall time is the search's: experts, baselines, refinement, the test split and the report are not in it",
        "no evaluator fails; engines are warm",
    ]
    if rest is not None:
        refined = ", and is refined" if refinement else ""
        assumptions.append(
            f"the whole run trains, tests and waits as that run did, with the samples that are planned{refined}"
        )
    if refinement is None:
        assumptions.append("nothing is known of the last step's training (refinement), which comes on top")
    elif refinement:
        assumptions.append(
            "refinement learns from every optimization sample, as fast as that run trained; it comes on top"
        )
    # With another engine the processors have other work.
    measured = tokens_per_second is None and all(one.machine is not None for one in traces)
    bound = shared and measured
    if bound:
        assumptions.append(
            "evaluators share the processors of one machine like the one that was measured: their work for one child "
            "and what the machine did besides come on top of each other; a GPU and sandboxes each has of its own"
        )
    elif evaluators > 1:
        unknown = "; what they take of a machine's cores was not measured" if shared else ""
        assumptions.append(
            f"evaluators do not slow each other down: each has cores, a GPU and sandboxes of its own{unknown}"
        )
    if tokens_per_second is not None:
        traces = [one._replace(engine=one.tokens / tokens_per_second) for one in traces]
        assumptions.append(f"each engine generates {tokens_per_second:,.0f} tokens/s with one child's episodes")
    if in_flight < evaluators:
        assumptions.append(f"{evaluators} children are in flight instead of {in_flight}, one for each evaluator")
        in_flight = evaluators
    if in_flight > 1:
        assumptions.append("a child is as good although it is bred from archives some children older")
    found = []
    for repetition in range(_REPETITIONS):
        draws = rng(seed, repetition, "plan").integers(len(traces), size=generations)
        drawn = [traces[draw] for draw in draws]
        one = simulate(drawn, evaluators=evaluators, in_flight=in_flight, ordered=ordered)
        if bound:
            one = one.lasting(sum(took.machine or 0.0 for took in drawn))
        found.append(one)
    seconds = statistics.median(one.seconds for one in found)
    return Plan(
        generations=generations,
        evaluators=evaluators,
        in_flight=in_flight,
        seconds=seconds,
        seconds_low=min(one.seconds for one in found),
        seconds_high=max(one.seconds for one in found),
        busy=statistics.median(one.busy for one in found),
        tokens=round(statistics.median(one.tokens for one in found)),
        bytes=None if bytes_each is None else bytes_each * generations,
        cost=None if price is None else price * evaluators * seconds / 3600,
        refinement=refinement,
        whole=None if rest is None or refinement is None else seconds + refinement + rest.seconds(evaluators),
        assumptions=tuple(assumptions),
    )
