"""The command that puts several runs side by side."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cycleqd.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, err, open_run, out, print_json
from cycleqd.cli.tables import show_table
from cycleqd.config import ConfigError
from cycleqd.faults import StoreError, hint

if TYPE_CHECKING:
    from cycleqd.run.store import RunStore

_WILD = ("*", "?", "[")


def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs by name or path; 'nightly-*' are all whose names are like that."),
    ],
    page: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page, which is replaced.")] = Path(
        "comparison.html"
    ),
    as_json: JsonOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Compare runs: final scores with intervals, searches over each other, settings that differ.

    Prints tables and writes one page that needs no network. Runs that differ in their seed alone are pooled. Nothing
    is played, and the runs may still be going.
    """
    stores = _stores(names, storage)
    from cycleqd.report import compare as report

    runs = []
    with err.status("Reading the runs"):
        for label, (store, wanted) in stores.items():
            try:
                runs.append(report.read_run(store, label))
            except (StoreError, ConfigError) as error:
                if wanted:
                    raise
                first = str(error).partition("\n")[0]
                err.print(Text(f"{label} is left out: {first}", style="yellow"), soft_wrap=True)
    if not runs:
        raise StoreError("none of the runs can be read")
    found = report.comparison(runs)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(report.page(runs, found), encoding="utf-8")
    told = Text(f"Page: {page}")
    if as_json:
        print_json(found.model_dump(mode="json"))
        err.print(told, soft_wrap=True)
        return
    for table in (report.run_table(found), report.group_table(found), report.settings_table(found)):
        if table.rows:
            show_table(out, table)
    out.print(told, soft_wrap=True)


def _stores(names: list[str], storage: str) -> dict[str, tuple[RunStore, bool]]:
    """The runs by label, each with whether it was named itself.

    Raises:
        StoreError: There is none of a name.
    """
    from cycleqd.run.store import RunStore, list_runs

    found: dict[tuple[str, str], tuple[RunStore, bool]] = {}
    for name in names:
        folder, _, pattern = name.rstrip("/").rpartition("/")
        folder = folder or storage
        wild = any(sign in pattern for sign in _WILD)
        if wild:
            known = list_runs(folder)
            alike = [RunStore(folder, run_id) for run_id in known if fnmatchcase(run_id, pattern)]
            if not alike:
                raise StoreError(
                    f"no run under {folder} is like {pattern!r}{hint(pattern, known, 'there are no runs')}"
                )
        else:
            alike = [open_run(name, storage)]
        for store in alike:
            found.setdefault((folder, store.run_id), (store, not wild))
    ids = [run_id for _, run_id in found]
    # Runs of one name in two places are told apart by their places.
    return {
        run_id if ids.count(run_id) == 1 else f"{folder}/{run_id}": value for (folder, run_id), value in found.items()
    }
