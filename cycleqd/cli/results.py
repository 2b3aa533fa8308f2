"""Commands that report on a run and take its models home."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from cycleqd.cli.common import (
    DEFAULT_STORAGE,
    RunArgument,
    StorageOption,
    err,
    known_individual,
    open_run,
    out,
    say,
)
from cycleqd.cli.tables import show_table
from cycleqd.faults import StoreError, hint
from cycleqd.messages import visible

if TYPE_CHECKING:
    from cycleqd.report.summary import Summary
    from cycleqd.run.store import RunStore


def report(name: RunArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Draw a run's report again, also while it is going, and print its tables."""
    from cycleqd.report import write_report

    store = open_run(name, storage)
    with err.status("Drawing the report"):
        summary = write_report(store)
    print_summary(summary, store)


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
    push_to: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Also upload it to the Hugging Face hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: a new repository is public.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Also write model.gguf, with llama.cpp's converter.")] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Save a model of a run as a Hugging Face folder: the final model, an elite, or any individual."""
    if elite and individual:
        raise typer.BadParameter("give either --elite or --individual")
    if gguf and form != "checkpoint":
        raise typer.BadParameter("--gguf wants --format checkpoint")
    store = open_run(name, storage)
    is_chat = store.config().model.kind == "chat"
    if gguf and not is_chat:
        raise typer.BadParameter("--gguf is for language models")
    identifier = _elite(store, elite) if elite else known_individual(store, individual or "aggregate")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not an empty folder; choose another one, nothing is overwritten")
    from cycleqd.checkpoint import BaseModelInvalid
    from cycleqd.evaluation.resources import find_base
    from cycleqd.preflight.probe import probe
    from cycleqd.publishing import push, write_gguf
    from cycleqd.publishing.gguf import find_converter
    from cycleqd.steps.export import export_individual

    if gguf:
        find_converter()  # before the work

    with err.status(f"Exporting {identifier}"):
        try:
            base = find_base(store.config())  # a SAM's names and shapes are looked at there
            if is_chat:
                probe(base)
            export_individual(store, identifier, folder, format=form)
        except BaseModelInvalid:
            raise
        except ValueError as error:  # this individual does not exist in this format
            raise StoreError(str(error)) from error
    out.print(Text(f"{identifier} of run {store.run_id} is in {folder} ({form})."), soft_wrap=True)
    if gguf:
        with err.status("Converting to GGUF"):
            out.print(Text(f"As GGUF: {write_gguf(folder)}"), soft_wrap=True)
    if push_to:
        with err.status(f"Uploading to {push_to}"):
            out.print(Text(f"On the hub: {push(folder, push_to, private=not public)}"), soft_wrap=True)
    if is_chat:
        out.print(Text(f"Talk to it: cycleqd chat {shlex.quote(str(folder))}"), soft_wrap=True)


def chat(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A model's folder, from cycleqd export.")],
    prompt: Annotated[str | None, typer.Option(help="Ask this one thing and stop.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions ahead of the conversation.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy, as in the evaluations.")] = 0.0,
) -> None:
    """Talk to an exported model with plain transformers; /reset forgets, /quit leaves."""
    from cycleqd.cli.conversation import converse, folders, load_chat
    from cycleqd.preflight.probe import probe

    with err.status("Loading the model"):
        whole, tokenizer = folders(path)
        probe(whole, tokenizer=tokenizer)
        partner = load_chat(path, system=system, max_new_tokens=max_new_tokens, temperature=temperature)
    if prompt is not None:
        for piece in partner.reply(prompt):
            out.out(visible(piece), end="", highlight=False)
        out.out("")
    else:
        converse(partner, out)


def _elite(store: RunStore, skill: str) -> str:
    from cycleqd.report.history import replay

    elites = replay(store).elites
    if skill not in elites:
        other = hint(skill, list(elites), "the archives are not seeded yet")
        raise StoreError(f"run {store.run_id} has no archive of {skill!r}{other}")
    return elites[skill]


def print_summary(summary: Summary, store: RunStore) -> None:
    """Prints a run's tables: what the search was worth, scores, differences, time, one line that says it all."""
    from cycleqd.report.tables import NOTES, baseline_table, comparison_table, headline, score_table, time_table

    tables = [baseline_table(summary)]
    tables += [score_table(summary, split) for split in reversed(list(summary.splits)) if summary.splits[split]]
    tables += [comparison_table(summary, "test")]
    if summary.wall_seconds["total"] > 0:
        tables.append(time_table(summary))
    for table in tables:
        if table.rows:
            show_table(out, table)
    say(headline(summary), style="bold")
    for note in NOTES if summary.rows else ():
        say(note, style="dim")
    if store.exists("report/index.html"):
        out.print(Text(f"Report: {store.url('report/index.html')}"), soft_wrap=True)
