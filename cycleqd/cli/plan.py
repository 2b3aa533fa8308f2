"""The command that says how long a search would take with other evaluators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cycleqd.cli.common import (
    DEFAULT_STORAGE,
    ConfigArgument,
    JsonOption,
    SetOption,
    StorageOption,
    open_run,
    out,
    print_json,
    say,
)
from cycleqd.cli.tables import print_table
from cycleqd.config import load_config
from cycleqd.faults import StoreError

if TYPE_CHECKING:
    from cycleqd.planning import Plan


def plan(
    config: ConfigArgument = "demo",
    overrides: SetOption = None,
    evaluators: Annotated[
        str, typer.Option("--evaluators", metavar="N[,N...]", help="Numbers of evaluators to plan with.")
    ] = "1",
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="RUN", help="The run whose children are the model; else the one of CONFIG."),
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="What each engine generates, in place of what it did.")
    ] = None,
    tokens_per_child: Annotated[
        int | None, typer.Option(min=1, help="Without a run: what a child's episodes generate.")
    ] = None,
    seconds_besides: Annotated[
        float, typer.Option(min=0, help="Without a run: an evaluator's seconds per child besides the engine's.")
    ] = 0.0,
    seconds_between: Annotated[
        float, typer.Option(min=0, help="Without a run: seconds to breed and commit a child.")
    ] = 0.0,
    shared: Annotated[
        bool | None,
        typer.Option(
            "--one-machine/--machines",
            help="Whether the evaluators share a machine, or have one each (else: if evaluators.address is set).",
        ),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one evaluator for an hour, in any currency.")] = None,
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Plan a search: wall time, engine-busy share, tokens, disk and cost with any number of evaluators.

    A simulation, fed with what the children of a run took or with the figures given here. It prints what it assumes.
    """
    settings = load_config(config, tuple(overrides or ()))
    numbers = _numbers(evaluators)
    from cycleqd.planning import Trace, traces_of
    from cycleqd.planning import plan as planned
    from cycleqd.planning.traces import bytes_per_child, refinement_seconds
    from cycleqd.planning.whole import besides

    size: float | None = None
    rest = None
    refinement: float | None = None if settings.refinement.epochs else 0.0
    if tokens_per_child is not None:
        if tokens_per_second is None:
            raise StoreError("--tokens-per-child needs --tokens-per-second")
        engine = tokens_per_child / tokens_per_second
        traces, source = [Trace(seconds_between, engine, seconds_besides, tokens_per_child)], "of given figures"
    else:
        store = open_run(like or settings.run_id, storage)
        traces, source = traces_of(store), f"run {store.run_id}"
        size, refinement = bytes_per_child(store, traces), refinement_seconds(store, settings)
        if not traces:
            raise StoreError(f"run {store.run_id} has no finished generations: name another one with --like")
        rest = besides(store, settings, traces)
    plans = [
        planned(
            traces,
            source=source,
            generations=max(1, settings.generations),
            evaluators=number,
            in_flight=settings.search.in_flight,
            ordered=settings.search.commit == "order",
            shared=settings.evaluators.address is None if shared is None else shared,
            seed=settings.seed,
            tokens_per_second=None if tokens_per_child is not None else tokens_per_second,
            bytes_each=size,
            price=price,
            refinement=refinement,
            rest=rest,
        )
        for number in numbers
    ]
    if as_json:
        print_json([one._asdict() for one in plans])
        return
    header = (
        *("evaluators", "in flight", "wall time", "shortest", "longest", "refinement", "whole run"),
        *("engine busy", "tokens", "disk", "cost"),
    )
    print_table(out, header, [_row(one) for one in plans], title=f"{plans[0].generations} children")
    say("Assumed:")
    for line in dict.fromkeys(line for one in plans for line in one.assumptions):
        say(f"* {line}")


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected whole numbers above 0 such as 1,8,64, got {text!r}")
    return [int(part) for part in parts]


def _row(one: Plan) -> tuple[str, ...]:
    from cycleqd.report.tables import duration

    return (
        str(one.evaluators),
        str(one.in_flight),
        duration(one.seconds),
        duration(one.seconds_low),
        duration(one.seconds_high),
        "?" if one.refinement is None else duration(one.refinement) if one.refinement else "none",
        "?" if one.whole is None else duration(one.whole),
        f"{100 * one.busy:.0f} %",
        f"{one.tokens:,}",
        "?" if one.bytes is None else f"{one.bytes / 2**30:.2f} GiB",
        "?" if one.cost is None else f"{one.cost:,.2f}",
    )
