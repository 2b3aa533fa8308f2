"""Commands that look into runs: individuals, family trees, transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from cycleqd.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    RunArgument,
    Skill,
    StorageOption,
    known_individual,
    open_run,
    out,
    print_json,
    say,
)
from cycleqd.cli.results import print_summary
from cycleqd.cli.tables import show_table
from cycleqd.faults import StoreError

if TYPE_CHECKING:
    from cycleqd.report.lineage import Ancestor

show = typer.Typer(no_args_is_help=True, help="Look into runs: individuals, family trees, transcripts.")


@show.command("runs", epilog="Example: cycleqd show runs --storage s3://bucket/runs")
def show_runs(as_json: JsonOption = False, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """All runs: how far they are and how well they do."""
    from cycleqd.report.listings import run_entries, runs_table
    from cycleqd.run.store import RunStore, list_runs

    entries = run_entries([RunStore(storage, name) for name in list_runs(storage)])
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
    elif entries:
        show_table(out, runs_table(entries))
    else:
        out.print(Text(f"No runs under {storage}."), soft_wrap=True)


@show.command("run", epilog="Example: cycleqd show run demo")
def show_run(name: RunArgument, as_json: JsonOption = False, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """One run's tables, from its records as they are now; writes nothing."""
    from cycleqd.report.summary import summarise

    store = open_run(name, storage)
    summary = summarise(store)
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        print_summary(summary, store)


@show.command("individuals", epilog="Example: cycleqd show individuals demo")
def show_individuals(name: RunArgument, as_json: JsonOption = False, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """All individuals of a run: origin, scores, cells won."""
    from cycleqd.report.listings import individual_entries, individuals_table

    store = open_run(name, storage)
    entries = individual_entries(store)
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
    else:
        show_table(out, individuals_table(entries, store.config().skill_names))


@show.command("individual", epilog="Example: cycleqd show individual demo g0012")
def show_individual(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, e.g. g0012, expert-os, aggregate.")],
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """One individual: recipe, scores on both splits, cells won."""
    from cycleqd.report.listings import individual_entries, individual_tables

    store = open_run(name, storage)
    (entry,) = individual_entries(store, [known_individual(store, identifier)])
    if as_json:
        print_json(entry.model_dump(mode="json"))
        return
    for table in individual_tables(entry, store.config().skill_names):
        show_table(out, table)


@show.command("lineage", epilog="Example: cycleqd show lineage demo aggregate --depth 3")
def show_lineage(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, e.g. g0012, expert-os, aggregate.")],
    depth: Annotated[int, typer.Option(min=0, help="Levels of parents.")] = 6,
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """An individual's family tree, and how much of each expert is in it."""
    from functools import cache

    from cycleqd.report.lineage import expert_shares, family

    store = open_run(name, storage)
    read = cache(store.individual)
    identifier = known_individual(store, identifier)
    root = family(identifier, read, depth=depth)
    shares = expert_shares(identifier, read)
    if as_json:
        print_json({"tree": _branch(root), "expert_shares": shares})
        return
    for line in _tree(root):
        out.print(line, soft_wrap=True)
    told = ", ".join(f"{100 * share:.1f} % {expert}" for expert, share in shares.items())
    say(f"Carried in by crossover, mutations aside: {told}")


@show.command("episodes", epilog="Example: cycleqd show episodes demo g0012 os --failed --limit 3")
def show_episodes(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, or base.")],
    skill: Skill,
    split: Annotated[Literal["optimization", "test"], typer.Option(help="Which samples.")] = "optimization",
    failed: Annotated[bool, typer.Option("--failed", help="Only samples that were not solved.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Episodes to show.")] = 5,
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """What an individual did, turn by turn, and what the judge said."""
    from cycleqd.report.tables import scored
    from cycleqd.report.transcripts import plain, select, terminal

    store = open_run(name, storage)
    genome = "base" if identifier == "base" else store.individual(known_individual(store, identifier)).genome
    record = store.pooled(genome, skill, split)
    if record is None:
        done = [
            f"{other}, {place}"
            for other in store.config().skill_names
            for place in ("optimization", "test")
            if store.pooled(genome, other, place)
        ]
        raise StoreError(
            f"{identifier} has no evaluation of {skill} on the {split} split; it has: {'; '.join(done) or 'none'}"
        )
    episodes = select(store.pooled_episodes(genome, skill, split), failed=failed, limit=limit)
    solved = sum(sample.score >= 1 for sample in record.samples)
    if as_json:
        score = record.score.model_dump(mode="json") | record.score.interval._asdict() | {"solved": solved}
        print_json({"score": score, "episodes": [episode.model_dump(mode="json") for episode in episodes]})
        return
    if out.is_terminal:
        for panel in terminal(episodes):
            out.print(panel)
    else:
        for line in plain(episodes):
            out.print(Text(line), soft_wrap=True)
    say(f"{len(episodes)} of {record.score.n} episodes shown; {solved} solved, score {scored(record.score)} %.")


def _tree(root: Ancestor) -> Iterator[Text]:
    """A family tree, one line an ancestor."""
    from cycleqd.report.lineage import describe

    def label(node: Ancestor, *, first: bool) -> Text:
        text = Text(node.record.id, style="bold")
        if not first:
            text.append(f" × {node.weight:.3f}", style="cyan")
        text.append(f"  {describe(node.record)}", style="dim")
        if node.cut:
            text.append(f"; parents {', '.join(node.record.parents)}", style="dim")
        return text

    def grow(node: Ancestor, indent: str) -> Iterator[Text]:
        for position, parent in enumerate(node.parents):
            last = position == len(node.parents) - 1
            yield Text(indent + ("└── " if last else "├── ")) + label(parent, first=False)
            yield from grow(parent, indent + ("    " if last else "│   "))

    yield label(root, first=True)
    yield from grow(root, "")


def _branch(node: Ancestor) -> dict[str, Any]:
    """A family tree as plain data."""
    return {
        "recipe": node.record.model_dump(mode="json"),
        "weight": node.weight,
        "cut": node.cut,
        "parents": [_branch(parent) for parent in node.parents],
    }
