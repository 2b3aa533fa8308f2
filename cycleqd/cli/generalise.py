"""The command that scores models on benchmarks that no skill trained for: the paper's Table 3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from cycleqd.cli.common import DEFAULT_STORAGE, INTERRUPTED, StorageOption, err, names_in, open_run, out, say
from cycleqd.cli.tables import print_table
from cycleqd.config import ConfigError
from cycleqd.packed_models import GGUF_SUFFIX, PACKED

if TYPE_CHECKING:
    from cycleqd.generalisation.subjects import Group


def generalise(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Runs, folders of checkpoints, GGUF files, smollm2-135m-instruct, or endpoints (http://HOST/v1#NAME).",
        ),
    ],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmarks",
            metavar="NAMES",
            help="Only these, separated by commas: of the table, of lm-evaluation-harness, or FILE.yaml. Repeatable.",
        ),
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(
            "--include-path", metavar="PATH", help="A folder of your own lm-eval tasks, or a YAML. Repeatable."
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(min=0, help="Solved examples in each prompt of the harness' tasks. [default: as each task says]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most problems of each benchmark, spread evenly over it.")
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where scores are kept and the table is written.")
    ] = Path("generalisation"),
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="MODELDIR", help="Base of the checkpoints and endpoints; it is scored, too."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A folder with local copies of the data. [default: $CYCLEQD_DATA_DIR, else the hub]"),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Docker image for BigCodeBench's programs. [default: the published one, which is pulled]"),
    ] = None,
    engine: Annotated[Literal["auto", "vllm", "transformers"], typer.Option(help="What serves the models.")] = "auto",
    max_model_len: Annotated[
        int | None,
        typer.Option(min=512, help="Longest prompt with its reply, in tokens. [default: the model's, at most 4096]"),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Score models on MMLU, GSM8K, HumanEval+ and others of Table 3, or on any task of lm-evaluation-harness."""
    from cycleqd.generalisation.catalogue import TaskName, chosen

    wanted = chosen(names_in(names), include or ())
    own = [one.name for one in wanted if not isinstance(one, TaskName)]
    if shots is not None and own:
        raise ConfigError(f"--shots is for other tasks of the harness: the table says how many {own[0]} has")
    from cycleqd.generalisation.playing import load, play
    from cycleqd.generalisation.results import TABLE_JSON, Scores, benchmarks_title, markdown, table, write_table

    if any(isinstance(one, TaskName) or one.kind != "code" for one in wanted):
        from cycleqd.generalisation.harness import harness_module

        harness_module()  # before the models are looked at
    with err.status("Looking at the models"):
        groups = _groups(models, base, storage, engine, max_model_len)
    with err.status("Loading the problems"):
        ready, reasons = load(wanted, limit=limit, data=data, image=image, shots=shots)
    for name, reason in reasons.items():
        err.print(Text(f"Not scored: {benchmarks_title(wanted, name)}: {reason}", style="yellow"), soft_wrap=True)
    if not ready:
        raise ConfigError("none of the benchmarks can be scored here")
    bases = {subject.name: group.base for group in groups for subject in group.subjects if group.base}
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=err) as bar:

        @contextmanager
        def watch(model: str, title: str) -> Iterator[Callable[[int, int], None]]:
            task = bar.add_task(f"{model}: {title}", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

        try:
            rows = play(groups, ready, Scores(folder), watch)
        except KeyboardInterrupt:
            text = f"Stopped. What was finished is kept in {folder}; the same command goes on from there."
            err.print(Text(text, style="yellow"), soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    scored = [one.benchmark for one in ready]
    content = table(rows, bases, scored)
    remarks = [note for one in groups for note in one.notes]
    text = markdown(content, [*scored, *(one for one in wanted if one.name in reasons)], reasons, remarks)
    write_table(folder, content, text)
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    header, *cells = ([cell.strip() for cell in line] for line in lines)
    print_table(out, header, cells, left=(2,))
    for remark in remarks:
        say(remark, style="dim")
    out.print(Text(f"Table and scores: {folder / TABLE_JSON}"), soft_wrap=True)


def _groups(models: list[str], base: Path | None, storage: str, engine: str, max_model_len: int | None) -> list[Group]:
    """What serves the models; those of one of them have the same names."""
    from cycleqd.generalisation.subjects import of_checkpoint, of_endpoint, of_run

    length = max_model_len
    runs = [model for model in models if not _is_endpoint(model) and not _is_checkpoint(model)]
    known = "base model" if base is not None else ""
    found: list[list[Group]] = []
    if base is not None:
        if not _is_checkpoint(str(base)):
            raise ConfigError(f"--base {base}: no folder with a config.json")
        found.append(of_checkpoint(str(base), engine=engine, max_model_len=length, name=known, base=known))
    for model in models:
        if _is_endpoint(model):
            url, _, name = model.partition("#")
            if not name:
                raise ConfigError(f"{model}: which model? Give {model}#NAME")
            try:
                found.append(of_endpoint(url, name, name=name, base=known))
            except ValueError as error:
                raise ConfigError(str(error)) from None
        elif _is_checkpoint(model):
            name = Path(model).expanduser().resolve().name
            found.append(of_checkpoint(model, engine=engine, max_model_len=length, name=name, base=known))
        else:
            store = open_run(model, storage)
            prefix = f"{store.run_id}: " if len(runs) > 1 else ""
            found.append(of_run(store, engine=engine, max_model_len=length, prefix=prefix))
    names = [subject.name for groups in found for subject in groups[0].subjects]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two models would be called {twice[0]!r}: rename a folder, or score them apart")
    return [group for groups in found for group in groups]


def _is_endpoint(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _is_checkpoint(model: str) -> bool:
    """Whether it is a model's folder, a GGUF file or a model that packages carry.

    A run's folder has a ``config.json`` of another kind.
    """
    if model in PACKED or model.endswith(GGUF_SUFFIX):
        return True
    try:
        content = json.loads((Path(model).expanduser() / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "run_id" not in content
