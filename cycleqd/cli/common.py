"""What all commands share: consoles, exit codes, arguments, finding runs and individuals."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from cycleqd.config import PROFILES, RunConfig
from cycleqd.faults import MendableFault, StoreError, hint
from cycleqd.messages import visible
from cycleqd.urls import without_credentials

if TYPE_CHECKING:
    from cycleqd.run.store import RunStore

UNFIT = 1
FAULT = 2
INTERRUPTED = 130
TERMINATED = 143

out = Console()
err = Console(stderr=True)


class FaultGroup(TyperGroup):
    """Turns the faults that a user can mend into one red line and exit code 2; bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.params.get("debug") or not isinstance(error, MendableFault | OSError):
                raise
            print_fault(str(error))
            raise typer.Exit(FAULT) from None


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
Skill = Annotated[str, typer.Argument(metavar="SKILL", help="One of the run's skills.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
DEFAULT_STORAGE = str(RunConfig.model_fields["storage"].default)


def names_in(given: list[str] | None) -> list[str]:
    """The names of a repeatable option that takes several, separated by commas."""
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()]


def print_fault(text: str) -> None:
    """Prints an error in one red line; it may quote what a file or a server says, and must not drive the terminal."""
    err.print(Text(f"Error: {without_credentials(visible(text))}", style="bold red"), soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints plain data as JSON to the standard output, whatever the terminal; nothing else may go there then."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def say(text: str, style: str = "") -> None:
    """Prints a paragraph: in lines of the terminal's width, and in one line into a pipe."""
    out.print(Text(text, style=style), soft_wrap=not out.is_terminal)


def open_run(name: str, storage: str) -> RunStore:
    """The store of an existing run.

    Raises:
        RunUnknown: There is none of that name; close matches are named.
    """
    from cycleqd.run.finding import find_run  # not above: `--help` needs no storage

    name = name.rstrip("/")  # which a shell adds when it completes the name of a folder
    if "/" in name:
        storage, _, name = name.rpartition("/")
    return find_run(name, storage)


def known_individual(store: RunStore, identifier: str) -> str:
    """The id, if the run has that individual.

    Raises:
        StoreError: It has not; close matches are named.
    """
    if not store.has_individual(identifier):
        folders = (key.rpartition("/")[2] for key in store.keys("individuals"))
        names = [name for name in folders if store.has_individual(name)]  # what is half made has no recipe
        other = hint(identifier, names, "it has no individuals yet")
        raise StoreError(f"run {store.run_id} has no individual {identifier!r}{other}")
    return identifier
