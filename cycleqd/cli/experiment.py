"""The commands that compare methods over seeds, and pairs of experts."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.text import Text

from cycleqd.cli.common import UNFIT, ConfigArgument, SetOption, err, names_in, out


def experiment(
    plan: Annotated[
        str, typer.Argument(help="table1, table2, table5 or beyond, which are shipped, or a YAML file of your own.")
    ],
    seeds: Annotated[str | None, typer.Option(help="Seeds in place of the plan's, e.g. 10,11.")] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", metavar="NAMES", help="Only these, separated by commas. Repeatable."),
    ] = None,
    children: Annotated[int | None, typer.Option(min=1, help="Budget of each search, in children.")] = None,
    storage: Annotated[str | None, typer.Option(help="Folder or URL that holds the runs.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the table: JSON, JSON lines, Markdown and a figure.")
    ] = None,
    only_report: Annotated[
        bool, typer.Option("--only-report", help="Play nothing; tell what the finished runs say.")
    ] = False,
    pool: Annotated[
        list[Path] | None,
        typer.Option(help="A <name>.jsonl of another machine, whose seeds are added to the table; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and their budgets, and end.")] = False,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Runs that are played side by side, each in a process of its own with an engine of its own. Each "
            "seed's first run goes ahead alone, and trains the experts of all.",
        ),
    ] = 1,
    as_job: Annotated[bool, typer.Option("--as-job", hidden=True)] = False,
) -> None:
    """Compare methods over several seeds at an equal number of episodes.

    Each pair of a method and a seed is a run of its own. The runs of one seed share experts, baselines and their
    scores. To continue after a stop, give the same command again.
    """
    from cycleqd.cli.jobs import end_with_starter, play_side_by_side
    from cycleqd.cli.playing import playing, server
    from cycleqd.cli.start import preflight
    from cycleqd.experiment.plan import load_experiment, planned_runs
    from cycleqd.experiment.results import OtherPlan, measure, pooled, read_lines, table_of
    from cycleqd.experiment.tables import to_figure, to_json, to_lines, to_markdown

    changes: dict[str, object] = {"children": children, "storage": storage}
    if seeds is not None:
        changes["seeds"] = _numbers(seeds)
    given = {name: value for name, value in changes.items() if value is not None}
    settings = load_experiment(plan, given, methods=names_in(methods))
    if dry_run:
        for method, seed, config in planned_runs(settings):
            out.print(f"{config.run_id}: {method}, seed {seed}, {config.generations} generations")
        return
    try:
        elsewhere = [line for path in pool or () for line in read_lines(path, settings)]
    except OtherPlan as error:
        raise typer.BadParameter(f"--pool: {error}") from None
    unfinished: list[str] = []
    if not only_report:
        if not as_job and not preflight(next(iter(planned_runs(settings))).config):
            raise typer.Exit(UNFIT)
        with playing(shlex.join(["cycleqd", *sys.argv[1:]])):
            if jobs > 1:
                restricted = [plan, *_options(children=children, storage=storage)]
                unfinished = play_side_by_side(settings, jobs, restricted, out_folder)
            else:
                if as_job:
                    end_with_starter()
                from flows.experiment import run_experiment

                with server():
                    run_experiment(settings)
    if as_job:
        return  # whoever started it makes the table
    lines = pooled(settings, measure(settings), elsewhere)
    results = table_of(settings, lines)
    text = to_markdown(results)
    out.print(Markdown(text))
    if out_folder is not None:
        out_folder.mkdir(parents=True, exist_ok=True)
        (out_folder / f"{settings.name}.json").write_text(to_json(results))
        (out_folder / f"{settings.name}.jsonl").write_text(to_lines(lines))
        (out_folder / f"{settings.name}.md").write_text(text)
        if results.rows:
            (out_folder / f"{settings.name}.png").write_bytes(to_figure(results))
        err.print(f"written to {out_folder}")
    if unfinished:
        listed = "\n".join(f"  {line}" for line in unfinished)
        told = f"not finished; start the experiment again to continue them:\n{listed}"
        err.print(Text(told, style="bold red"), soft_wrap=True)
        raise typer.Exit(UNFIT)


def pairs(
    config: ConfigArgument,
    overrides: SetOption = None,
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 0,1,2.")] = "0",
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for table4.json and table4.md, and for figures of models that segment."),
    ] = None,
    only_report: Annotated[
        bool, typer.Option("--only-report", help="Play nothing; tell what the finished runs say.")
    ] = False,
) -> None:
    """Merge the experts of every two skills, and compare how well they merge with how alike they are.

    The experts of a seed are trained once; each pair is a run of its own. To continue after a stop, give the same
    command again.
    """
    from cycleqd.cli.playing import playing, server
    from cycleqd.cli.start import preflight
    from cycleqd.config import load_config
    from cycleqd.experiment.masks import to_figure
    from cycleqd.experiment.pairs import collect_pairs, experts_run, pair_runs, to_markdown

    settings, chosen = load_config(config, tuple(overrides or ())), _numbers(seeds)
    if not only_report:
        if not preflight(experts_run(settings, chosen[0])):
            raise typer.Exit(UNFIT)
        with playing(shlex.join(["cycleqd", *sys.argv[1:]])):
            from flows.pairs import run_pairs

            with server():
                run_pairs(settings, chosen)
    table = collect_pairs(settings, chosen)
    text = to_markdown(table)
    out.print(Markdown(text))
    if out_folder is not None:
        out_folder.mkdir(parents=True, exist_ok=True)
        (out_folder / "table4.json").write_text(table.model_dump_json(indent=1) + "\n")
        (out_folder / "table4.md").write_text(text)
        if settings.model.kind == "segmentation":  # the figures show masks
            for pair in pair_runs(settings, chosen[0]):
                if pair.config.run_id not in table.unfinished:
                    (out_folder / f"{settings.run_id}-{pair.a}-{pair.b}.png").write_bytes(to_figure(pair.config))
        err.print(f"written to {out_folder}")


def _options(**given: object) -> list[str]:
    """Options of a command, of those that were given."""
    return [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]


def _numbers(listed: str) -> list[int]:
    if not re.fullmatch(r"(0|[1-9][0-9]{0,18})(,(0|[1-9][0-9]{0,18}))*", listed):  # int() would take 010 and 1_0
        raise typer.BadParameter(f"--seeds takes whole numbers with commas between them, got {listed!r}")
    return [int(one) for one in listed.split(",")]
