"""The command line: check a machine, start runs, read their results, take models home.

Exit codes: 0 well; 1 the machine or the run is not fit; 2 wrong usage, configuration, store or infrastructure, told in
one red line; 130 interrupted.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree
from typer.core import TyperGroup

from cycleqd.config import PROFILES, ConfigError, RunConfig, load_config
from cycleqd.store import RunStore, StoreError, list_runs

if TYPE_CHECKING:
    from cycleqd.preflight import Check
    from cycleqd.report.lineage import Ancestor
    from cycleqd.report.summary import Summary

UNFIT = 1
FAULT = 2
INTERRUPTED = 130

out = Console()
err = Console(stderr=True)


class FaultGroup(TyperGroup):
    """Turns the faults that a user can mend into one red line and exit code 2; bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.params.get("debug") or not _is_fault(error):
                raise
            err.print(Text(f"Error: {error}", style="bold red"), soft_wrap=True)
            raise typer.Exit(FAULT) from None


def _is_fault(error: Exception) -> bool:
    from cycleqd.sandbox import SandboxUnavailable

    return isinstance(error, ConfigError | StoreError | SandboxUnavailable | OSError)


app = typer.Typer(
    cls=FaultGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first run: [bold]cycleqd doctor[/], [bold]cycleqd run demo[/], [bold]cycleqd report demo[/].",
)
show = typer.Typer(no_args_is_help=True, help="Look into runs: individuals, family trees, transcripts.")
app.add_typer(show, name="show")

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help=f"A profile ({', '.join(PROFILES)}) or a YAML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one setting, e.g. skills.0.train=8. Repeatable."),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's name, or the path of its folder.")]
StorageOption = Annotated[
    str, typer.Option("--storage", envvar="CYCLEQD_STORAGE", help="Folder or fsspec URL that holds the runs.")
]
Skill = Annotated[str, typer.Argument(metavar="SKILL", help="coding, os or db.")]
DEFAULT_STORAGE = str(RunConfig.model_fields["storage"].default)


@app.callback()
def main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a fault (before the command).")
    ] = False,
) -> None:
    """Evolve merges of skill experts into one LLM.

    CycleQD fine-tunes one expert per skill, searches for the best merges with Quality-Diversity, scores every child
    by letting it act in real sandboxes, and folds the best ones into one model.
    """


# Starting


@app.command(epilog="Example: cycleqd doctor demo --set engine.kind=transformers")
def doctor(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Check that this machine has what a run needs; exit code 1 if not."""
    if not _preflight(load_config(config, tuple(overrides or ()))):
        raise typer.Exit(UNFIT)


@app.command(epilog="Example: cycleqd run demo --set run_id=seed1 --set seed=1")
def run(
    config: ConfigArgument = "demo",
    overrides: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the final tables.")] = False,
) -> None:
    """Run CycleQD from the base model to the report, or continue a run of the same name.

    What a run has finished is not repeated, so that a run that was stopped goes on where it was.
    """
    settings = load_config(config, tuple(overrides or ()))
    if not _preflight(settings, only_faults=quiet):
        raise typer.Exit(UNFIT)
    for name, value in _PREFECT.items() | ({("PREFECT_LOGGING_LEVEL", "WARNING")} if quiet else set()):
        os.environ.setdefault(name, value)
    again = shlex.join(["cycleqd", "run", config, *(part for pair in overrides or () for part in ("--set", pair))])
    with _checkout_importable():
        from flows.main import cycleqd_run

        try:
            cycleqd_run(settings)
        except KeyboardInterrupt:
            err.print(Text("Stopped. What was finished is kept; continue with:", style="yellow"))
            err.print(Text(f"  {again}"), soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    from cycleqd.report.write import read_summary

    store = RunStore(settings.storage, settings.run_id)
    _print_summary(read_summary(store), store)


@app.command("config", epilog="Example: cycleqd config demo > my.yaml, edit it, cycleqd run my.yaml")
def print_config(config: ConfigArgument = "demo", overrides: SetOption = None) -> None:
    """Print a configuration in full, every default included, as YAML."""
    sys.stdout.write(load_config(config, tuple(overrides or ())).to_yaml())


# Results


@app.command(epilog="Example: cycleqd report demo")
def report(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Draw a run's report again, also while it is going, and print its tables."""
    from cycleqd.report import write_report

    store = _open(name, storage)
    with err.status("Drawing the report"):
        summary = write_report(store)
    _print_summary(summary, store)


@app.command(epilog="Example: cycleqd export demo ./model --elite os, then cycleqd chat ./model")
def export(
    name: RunArgument,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is empty or does not exist yet.")],
    elite: Annotated[
        str | None, typer.Option("--elite", metavar="SKILL", help="The best individual of this skill's archive.")
    ] = None,
    individual: Annotated[str | None, typer.Option("--individual", metavar="ID", help="Any individual by id.")] = None,
    form: Annotated[
        Literal["checkpoint", "adapter"],
        typer.Option("--format", help="A whole Hugging Face checkpoint, or a LoRA adapter for the base model."),
    ] = "checkpoint",
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Save a model of a run as a Hugging Face folder: the final model, an elite, or any individual."""
    if elite and individual:
        raise typer.BadParameter("give either --elite or --individual")
    store = _open(name, storage)
    identifier = _elite(store, elite) if elite else _known_individual(store, individual or "aggregate")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not an empty folder; choose another one, nothing is overwritten")
    from cycleqd.export import export_individual

    with err.status(f"Exporting {identifier}"):
        try:
            export_individual(store, identifier, folder, format=form)
        except ValueError as error:  # this individual does not exist in this format
            raise StoreError(str(error)) from error
    out.print(Text(f"{identifier} of run {store.run_id} is in {folder} ({form})."), soft_wrap=True)
    out.print(Text(f"Talk to it: cycleqd chat {shlex.quote(str(folder))}"), soft_wrap=True)


@app.command(epilog='Example: cycleqd chat ./model --prompt "Write a function that adds two numbers."')
def chat(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A model's folder, from cycleqd export.")],
    prompt: Annotated[str | None, typer.Option(help="Ask this one thing and stop.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions ahead of the conversation.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy, as in the evaluations.")] = 0.0,
) -> None:
    """Talk to an exported model with plain transformers; /reset forgets, /quit leaves."""
    from cycleqd.chat import converse, load_chat
    from cycleqd.report.transcripts import visible

    with err.status("Loading the model"):
        partner = load_chat(path, system=system, max_new_tokens=max_new_tokens, temperature=temperature)
    if prompt is not None:
        for piece in partner.reply(prompt):
            out.out(visible(piece), end="", highlight=False)
        out.out("")
    else:
        converse(partner, out)


# Looking


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

    store = _open(name, storage)
    _print_summary(summarise(store), store)


@show.command("individuals", epilog="Example: cycleqd show individuals demo")
def show_individuals(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """All individuals of a run: origin, scores, cells won."""
    from cycleqd.report.listings import individuals_table

    out.print(individuals_table(_open(name, storage)))


@show.command("individual", epilog="Example: cycleqd show individual demo g0012")
def show_individual(
    name: RunArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id, e.g. g0012, expert-os, aggregate.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """One individual: recipe, scores on both splits, cells won."""
    from cycleqd.report.listings import individual_tables

    store = _open(name, storage)
    for table in individual_tables(store, _known_individual(store, identifier)):
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

    store = _open(name, storage)
    read = cache(store.individual)
    identifier = _known_individual(store, identifier)
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
    from cycleqd.report.transcripts import select, terminal

    store = _open(name, storage)
    identity = "base" if identifier == "base" else store.individual(_known_individual(store, identifier)).genome
    record = store.evaluation(identity, skill, split)
    if record is None:
        done = [
            f"{other}, {place}"
            for other in store.config().skill_names
            for place in ("optimization", "test")
            if store.evaluation(identity, other, place)
        ]
        raise StoreError(
            f"{identifier} has no evaluation of {skill} on the {split} split; it has: {'; '.join(done) or 'none'}"
        )
    episodes = select(store.episodes(identity, skill, split), failed=failed, limit=limit)
    for panel in terminal(episodes):
        out.print(panel)
    solved = sum(sample.score >= 1 for sample in record.samples)
    out.print(
        f"{len(episodes)} of {record.score.n} episodes shown; {solved} solved, "
        f"score {100 * record.score.score:.1f} ± {100 * record.score.se:.1f} %.",
        soft_wrap=True,
    )


# Helpers


def _open(name: str, storage: str) -> RunStore:
    """The store of an existing run.

    Raises:
        StoreError: There is none of that name; close matches are named.
    """
    if "/" in name.rstrip("/"):
        storage, _, name = name.rstrip("/").rpartition("/")
    names = list_runs(storage)
    if name not in names:
        raise StoreError(f"no run {name!r} under {storage}{_hint(name, names, 'there are no runs')}")
    return RunStore(storage, name)


def _known_individual(store: RunStore, identifier: str) -> str:
    if not store.has_individual(identifier):
        names = [key.rpartition("/")[2] for key in store.keys("individuals")]
        hint = _hint(identifier, names, "it has no individuals yet")
        raise StoreError(f"run {store.run_id} has no individual {identifier!r}{hint}")
    return identifier


def _hint(name: str, names: list[str], none: str) -> str:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; there are {shown}" if names else f"; {none}"


def _elite(store: RunStore, skill: str) -> str:
    from cycleqd.report.history import replay

    elites = replay(store).elites
    if skill not in elites:
        hint = _hint(skill, list(elites), "the archives are not seeded yet")
        raise StoreError(f"run {store.run_id} has no archive of {skill!r}{hint}")
    return elites[skill]


def _preflight(config: RunConfig, *, only_faults: bool = False) -> bool:
    """Checks the machine and prints what was found; says whether the run can go ahead."""
    from cycleqd.preflight import check
    from cycleqd.report.listings import checks_table

    with err.status("Checking this machine"):
        checks: list[Check] = check(config)
    fit = all(item.ok for item in checks)
    shown = [item for item in checks if not item.ok] if only_faults else checks
    if shown:
        out.print(checks_table(shown))
    if not fit:
        err.print(Text("This machine is not ready for the run; mend what is marked above.", style="bold red"))
    return fit


_PREFECT = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cycleqd",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 are too few on a busy machine
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A temporary server schedules and automates nothing; these services only compete for its SQLite file.
    **{
        f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
        for service in ("EVENT_PERSISTER", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")
    },
}
"""Environment that a run prefers, read when Prefect is imported; the user's own settings win."""


@contextmanager
def _checkout_importable() -> Iterator[None]:
    """Lets `flows` and `tasks` be imported: they lie beside the package in a checkout and are not installed.

    Raises:
        ConfigError: The package does not lie in a checkout.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "flows" / "main.py").is_file():
        raise ConfigError("flows/ is missing beside the package: runs start from a checkout (pip install -e .)")
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def _print_summary(summary: Summary, store: RunStore) -> None:
    from cycleqd.report.tables import NOTES, comparison_table, headline, score_table, time_table

    for split in reversed(list(summary.splits)):
        if summary.splits[split]:
            out.print(score_table(summary, split).to_rich())
    differences = comparison_table(summary, "test")
    if differences.rows:
        out.print(differences.to_rich())
    if summary.wall_seconds["total"] > 0:
        out.print(time_table(summary).to_rich())
    out.print(Text(headline(summary), style="bold"))
    for note in NOTES if summary.rows else ():
        out.print(Text(note, style="dim"))
    if store.exists("report/index.html"):
        out.print(Text(f"Report: {store.url('report/index.html')}"), soft_wrap=True)


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
