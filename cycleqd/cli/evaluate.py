"""The command that measures any model, also one that no run made, on the skills of a configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cycleqd.cli.common import ConfigArgument, SetOption, err, out
from cycleqd.cli.tables import show_table
from cycleqd.config import ConfigError, RunConfig, SkillConfig, load_config
from cycleqd.packed_models import PACKED
from cycleqd.skills.registry import SkillUnavailable, find

if TYPE_CHECKING:
    from cycleqd.evaluation.play import Evaluation
    from cycleqd.models.causal_lm import Engine


def evaluate(
    config: ConfigArgument = "demo",
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An OpenAI-compatible endpoint; its key is read from OPENAI_API_KEY."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The endpoint's name of the model.")] = None,
    path: Annotated[
        Path | None,
        typer.Option(metavar="MODELDIR", help="A Hugging Face checkpoint, e.g. from cycleqd export, or a GGUF file."),
    ] = None,
    skills: Annotated[
        list[str] | None,
        typer.Option("--skill", help="Play only this skill, whether CONFIG has it or not. Repeatable."),
    ] = None,
    split: Annotated[Literal["test", "optimization"], typer.Option(help="Which of the skills' splits.")] = "test",
    whole: Annotated[
        bool,
        typer.Option("--all", help="Play both splits (a benchmark as a whole), to compare with published figures."),
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write summary, records and episodes to this folder.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests that an endpoint gets at a time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that an endpoint has for one reply.")] = 120.0,
    overrides: SetOption = None,
) -> None:
    """Score a model behind an endpoint, or a local checkpoint, on the skills of a configuration."""
    if (endpoint is None) == (path is None):
        raise typer.BadParameter("give either --endpoint (with --model) or --path")
    if (endpoint is None) != (model is None):
        raise typer.BadParameter("--endpoint and --model go together")
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"--out {folder} is not empty")
    if whole and split != "test":
        raise typer.BadParameter("--all plays both splits: leave --split out")
    settings = _with_skills(load_config(config, tuple(overrides or ())), tuple(skills or ()), whole)
    subject = _checkpoint(settings, path) if path else _endpoint(endpoint or "", model or "", concurrency, timeout)
    try:
        evaluations = _play(settings, subject, split, whole)
    finally:
        subject.engine.close()

    from cycleqd.report.models import model_table, summarise_model, write_model
    from cycleqd.steps.workspace import package_versions

    summary = summarise_model(subject.name, subject.source, evaluations, package_versions())
    show_table(out, model_table(summary))
    if folder is not None:
        write_model(folder, summary, evaluations)
        out.print(Text(f"Written to {folder}"), soft_wrap=True)


class _Subject(NamedTuple):
    """What is measured."""

    engine: Engine
    name: str
    source: str
    genome: str
    batching: Literal["strict", "throughput"]


def _checkpoint(settings: RunConfig, path: Path) -> _Subject:
    from cycleqd.base_model import BaseWeights, is_gguf, resolve_base
    from cycleqd.evaluation.resources import start_engine
    from cycleqd.preflight.probe import probe
    from cycleqd.storage import cache_dir

    if not (path.is_dir() or is_gguf(str(path)) or str(path) in PACKED):
        raise ConfigError(f"--path {path}: no such folder or GGUF file")
    base = resolve_base(str(path), cache_dir())
    with err.status("Loading the model"):
        probe(base, date=settings.model.date)
        weights = BaseWeights(base)
        weights.check_values()
        engine = start_engine(settings, base)
    return _Subject(engine, path.resolve().name, str(path), weights.hash(), settings.engine.batching)


def _endpoint(url: str, model: str, concurrency: int, timeout: float) -> _Subject:
    from cycleqd.models.causal_lm.endpoint import EndpointEngine

    try:
        engine = EndpointEngine(url, model, concurrency=concurrency, timeout=timeout)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        engine.check()
    except OSError:
        engine.close()
        raise
    # Which episodes share a batch is the server's business; waiting for rounds would only be slow.
    return _Subject(engine, model, engine.url, engine.loaded, "throughput")


def _with_skills(config: RunConfig, names: tuple[str, ...], whole: bool) -> RunConfig:
    """The configuration with these skills only; one that it does not have gets its defaults.

    Args:
        config: The user's.
        names: Skills; none are all that the configuration has.
        whole: Whether benchmarks are to have all their samples.
    """
    known = {skill.row.name: skill for skill in config.skills}
    try:
        chosen = [known.get(find(name).name) or SkillConfig(name=name) for name in names]
    except SkillUnavailable as error:
        raise ConfigError(str(error)) from None
    chosen = chosen or list(config.skills)
    if whole:
        everything = {"optimization": None, "test": None}
        chosen = [skill if skill.row.kind == "suite" else skill.model_copy(update=everything) for skill in chosen]
    # Containers of a run of the same name must not be taken for this command's. Experts' data does not matter here.
    return config.model_copy(update={"run_id": f"{config.run_id}-evaluate", "skills": tuple(chosen)})


def _play(
    settings: RunConfig, subject: _Subject, split: Literal["test", "optimization"], whole: bool
) -> list[Evaluation]:
    from cycleqd.evaluation.play import Evaluation
    from cycleqd.evaluation.play import evaluate as play
    from cycleqd.evaluation.resources import build_skills, open_sandboxes
    from cycleqd.report.models import BOTH
    from cycleqd.skills.benchmarks.benchmark import Whole

    evaluations = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        skills = build_skills(settings)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    with open_sandboxes(settings) as sandboxes, Progress(*columns, console=err) as bar:
        for name, part in skills.items():
            skill = Whole(part) if whole else part
            task = bar.add_task(name, total=len(skill.samples(split)))
            played = play(
                skill,
                split,
                subject.engine,
                sandboxes,
                batching=subject.batching,
                live_episodes=settings.sandbox.max_containers,
                workers=settings.sandbox.workers,
                progress=partial(_advance, bar, task),
            )
            changes = {"genome": subject.genome} | ({"split": BOTH} if whole else {})
            record = played.record.model_copy(update=changes)
            evaluations.append(Evaluation(record, played.episodes, played.files))
    return evaluations


def _advance(bar: Progress, task: TaskID, finished: int) -> None:
    bar.update(task, completed=finished)
