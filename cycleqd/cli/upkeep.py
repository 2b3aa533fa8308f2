"""Commands that keep a run healthy: verify it, prune it, read its metrics."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cycleqd.cli.common import (
    DEFAULT_STORAGE,
    UNFIT,
    JsonOption,
    RunArgument,
    StorageOption,
    err,
    open_run,
    out,
    print_json,
)
from cycleqd.cli.tables import print_table
from cycleqd.config import RetentionPolicy
from cycleqd.faults import StoreError
from cycleqd.run.names import METRICS_KEY

if TYPE_CHECKING:
    from cycleqd.run.upkeep import Doomed

_SHOWN = 30
"""Lines of a table; a run may have thousands of individuals."""


def verify(
    name: RunArgument,
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Check every checksum, genome and record of a run; exit code 1 if something is missing or damaged.

    Reads the whole run and changes nothing. Half-written leftovers are listed but are no damage: the next start of the
    run removes them.
    """
    store = open_run(name, storage)
    from cycleqd.run.upkeep import verify as look  # replays the search, and so needs torch

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        result = look(store, _Watch(bars))
    if as_json:
        print_json(dataclasses.asdict(result) | {"faults": [fault._asdict() for fault in result.faults]})
    else:
        if result.faults:
            rows = [(fault.key, Text(fault.kind, style="bold red"), Text(fault.text)) for fault in result.faults]
            print_table(out, ("object", "", "what was found"), rows, prose=(2,), left=(1,))
        for key, why in result.leftovers.items():
            out.print(Text(f"leftover: {key} ({why})", style="yellow"), soft_wrap=True)
        verdict = f"{len(result.faults)} missing or damaged" if result.faults else "nothing is missing or damaged"
        out.print(
            Text(
                f"run {store.run_id}: {verdict}; {result.objects} objects ({result.checksummed} with a checksum), "
                f"{result.generations} generations, {result.individuals} individuals ({result.pruned} pruned), "
                f"{result.evaluations} evaluations"
            ),
            soft_wrap=True,
        )
    if result.faults:
        raise typer.Exit(UNFIT)


def prune(
    name: RunArgument,
    policy: Annotated[
        RetentionPolicy,
        typer.Option(
            help="keep-elites keeps what an archive or the final model needs; keep-every-n also every n-th child."
        ),
    ] = "keep-elites",
    every: Annotated[int, typer.Option(min=1, help="The n of keep-every-n.")] = 10,
    episodes: Annotated[bool, typer.Option("--episodes", help="Remove the transcripts with the weights.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Remove the weights of individuals that no archive holds any more.

    Recipes, scores and records stay, so lineage, reports and resuming the run work as before.
    """
    store = open_run(name, storage)
    from cycleqd.run.upkeep import plan_pruning
    from cycleqd.run.upkeep import prune as carry_out

    if dry_run:
        plan = plan_pruning(store, policy, every=every, episodes=episodes)
    else:
        from cycleqd.run.lease import Lease  # pulls in the sandboxes, which other commands don't need

        lease = Lease.acquire(store)
        try:
            plan = plan_pruning(store, policy, every=every, episodes=episodes)
            carry_out(store, plan, policy)
        finally:
            lease.release()
    if plan:
        _show(plan)
    verb = "would be freed" if dry_run else "freed"
    out.print(f"{len(plan)} individuals, {_size(sum(item.size for item in plan))} {verb}")


def metrics(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Print a run's counters and durations in the OpenMetrics format, as its last process left them."""
    store = open_run(name, storage)
    if not store.exists(METRICS_KEY):
        raise StoreError(f"run {store.run_id!r} has no metrics yet; they are written after each generation")
    from cycleqd.telemetry.metrics import of_run

    sys.stdout.write(of_run(store.read_bytes(METRICS_KEY).decode(), store.run_id))


class _Watch:
    """Shows what `verify` looks at: bars on a terminal, a line a stage elsewhere."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def stage(self, what: str, total: int) -> None:
        """See `cycleqd.run.upkeep.Watcher`."""
        if self._bars.disable:
            err.print(f"looking at {what}" + (f": {total}" if total else ""))
        self._task = self._bars.add_task(what, total=total or None)

    def advance(self) -> None:
        """See `cycleqd.run.upkeep.Watcher`."""
        if self._task is not None:
            self._bars.advance(self._task)


def _show(plan: list[Doomed]) -> None:
    rows = [
        (item.record.id, item.record.archive or "–", str(len(item.keys)), _size(item.size)) for item in plan[:_SHOWN]
    ]
    if len(plan) > _SHOWN:
        rows.append((f"… {len(plan) - _SHOWN} more", "", "", _size(sum(item.size for item in plan[_SHOWN:]))))
    print_table(out, ("individual", "archive", "objects", "size"), rows, left=(1,))


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
