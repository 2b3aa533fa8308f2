"""Commands that look into runs: individuals, family trees, transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text
from rich.tree import Tree

from cycleqd.cli.common import DEFAULT_STORAGE, RunArgument, Skill, StorageOption, known_individual, open_run, out
from cycleqd.cli.results import print_summary
from cycleqd.run.store import RunStore, StoreError, list_runs

if TYPE_CHECKING:
    from cycleqd.report.lineage import Ancestor

show = typer.Typer(no_args_is_help=True, help="Look into runs: individuals, family trees, transcripts.")


@show.command("runs", epilog="Example: cycleqd show runs --storage s3://bucket/runs")
def show_runs(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """All runs: how far they are and how well they do."""
    from cycleqd.report.listings import runs_table

    names = list_runs(storage)
    if not names:
        out.print(f"No runs under {storage}.", soft_wrap=True)
        return
    out.print(runs_table([RunStore(storage, name) for name in names]))


@show.command("run", epilog="Example: cycleqd show run demo")
def show_run(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """One run's tables, from its records as they are now; writes nothing."""
    from cycleqd.report.summary import summarise

    store = open_run(name, storage)
    print_summary(summarise(store), store)


@show.command("individuals", epilog="Example: cycleqd show individuals demo")
def show_individuals(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """All individuals of a run: origin, scores, cells won."""
    from cycleqd.report.listings import individuals_table

    out.print(individuals_table(open_run(name, storage)))


@show.command("individual", epilog="Example: cycleqd show individual demo g0012")
def show_individual(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, e.g. g0012, expert-os, aggregate.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """One individual: recipe, scores on both splits, cells won."""
    from cycleqd.report.listings import individual_tables

    store = open_run(name, storage)
    for table in individual_tables(store, known_individual(store, identifier)):
        out.print(table)


@show.command("lineage", epilog="Example: cycleqd show lineage demo aggregate --depth 3")
def show_lineage(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, e.g. g0012, expert-os, aggregate.")],
    depth: Annotated[int, typer.Option(min=0, help="Levels of parents.")] = 6,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """An individual's family tree, and how much of each expert is in it."""
    from functools import cache

    from cycleqd.report.lineage import expert_shares, family

    store = open_run(name, storage)
    read = cache(store.individual)
    identifier = known_individual(store, identifier)
    out.print(_tree(family(identifier, read, depth=depth)))
    shares = (f"{100 * share:.1f} % {expert}" for expert, share in expert_shares(identifier, read).items())
    out.print(Text(f"Carried in by crossover, mutations aside: {', '.join(shares)}"), soft_wrap=True)


@show.command("episodes", epilog="Example: cycleqd show episodes demo g0012 os --failed --limit 3")
def show_episodes(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, or base.")],
    skill: Skill,
    split: Annotated[Literal["optimization", "test"], typer.Option(help="Which samples.")] = "optimization",
    failed: Annotated[bool, typer.Option("--failed", help="Only samples that were not solved.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Episodes to show.")] = 5,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """What an individual did, turn by turn, and what the judge said."""
    from cycleqd.report.tables import scored
    from cycleqd.report.transcripts import select, terminal

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
    for panel in terminal(episodes):
        out.print(panel)
    solved = sum(sample.score >= 1 for sample in record.samples)
    out.print(
        f"{len(episodes)} of {record.score.n} episodes shown; {solved} solved, score {scored(record.score)} %.",
        soft_wrap=True,
    )


def _tree(root: Ancestor) -> Tree:
    from cycleqd.report.lineage import describe

    def label(node: Ancestor, *, first: bool) -> Text:
        text = Text(node.record.id, style="bold")
        if not first:
            text.append(f" × {node.weight:.3f}", style="cyan")
        text.append(f"  {describe(node.record)}", style="dim")
        if node.cut:
            text.append(f"; parents {', '.join(node.record.parents)}", style="dim")
        return text

    def grow(tree: Tree, node: Ancestor) -> None:
        for parent in node.parents:
            grow(tree.add(label(parent, first=False)), parent)

    tree = Tree(label(root, first=True))
    grow(tree, root)
    return tree
