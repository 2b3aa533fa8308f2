"""Commands that look at training data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.text import Text

from cycleqd.cli.common import ConfigArgument, SetOption, err, out
from cycleqd.cli.tables import print_table
from cycleqd.config import GENERATED_SKILLS, ConfigError, load_config
from cycleqd.messages import visible
from cycleqd.skills.registry import find

data = typer.Typer(no_args_is_help=True, help="Look at the data sets that experts learn from, and make some.")
_SHOWN = 400
"""Characters of a message that an example shows."""
_CONTAINERS = 4
"""Episodes that are played at a time."""


@data.command(epilog="Example: cycleqd data inspect paper --skill mbpp_plus")
def inspect(
    config: ConfigArgument,
    skills: Annotated[list[str] | None, typer.Option("--skill", help="Only this skill. Repeatable.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Conversations of each skill to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Only the counts, as JSON.")] = False,
    overrides: SetOption = None,
) -> None:
    """Read training data exactly as training will; show counts, what is left out and why, the hash, and examples."""
    from cycleqd.evaluation.resources import build_skills
    from cycleqd.experts.data import check_source, prepare_skill, sources_of

    settings = load_config(config, tuple(overrides or ()))
    named = {name: own for name in settings.skill_names if (own := settings.experts.data_of(name)) is not None}
    chosen = [name for name in named if name in (skills or (name,))]
    if not chosen:
        raise ConfigError(
            f"{config}: no skill {'of these ' if skills else ''}has experts.data; gold episodes are used"
        )
    for skill in chosen:
        for source in sources_of(named[skill]):
            check_source(source)
    tokenizer = _tokenizer(settings.model.name)
    try:
        evaluated = build_skills(settings)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    found: dict[str, Any] = {}
    for skill in chosen:
        with err.status(f"Reading the data of {skill}"):
            conversations, report = prepare_skill(settings, skill, evaluated.values())
            lengths = _lengths(tokenizer, conversations, settings.experts.max_length_of(skill))
        found[skill] = {**report.model_dump(mode="json"), **lengths._asdict()}
        if as_json:
            continue
        _show(skill, found[skill])
        for fault in _faults(found[skill]):
            out.print(Text(visible(fault), style="yellow"), soft_wrap=True)
        for number, conversation in enumerate(conversations[:examples], start=1):
            out.print(Text(f"{skill}, example {number}", style="bold"))
            for message in conversation:
                speaker = message["role"] + ("" if message.get("trained", True) else " (not trained)")
                text = message["content"]
                shown = text[:_SHOWN] + (f"... ({len(text)} characters)" if len(text) > _SHOWN else "")
                out.print(Text.assemble((f"{speaker}: ", "cyan"), visible(shown)), soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")


@data.command(epilog="Example: cycleqd data record coding os db --samples 200 --out data/")
def record(
    suites: Annotated[
        list[str], typer.Argument(metavar="SUITE...", help=f"{', '.join(GENERATED_SKILLS)}, or a package's.")
    ],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where SUITE.jsonl is written.")],
    samples: Annotated[int, typer.Option(min=1, help="Episodes of each suite.")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="Draws the samples.")] = 0,
) -> None:
    """Play gold episodes of suites, and write conversations that any skill's expert can learn from (recipe chat)."""
    from cycleqd.sandbox import Sandboxes
    from cycleqd.skills.building import build_skill
    from cycleqd.skills.oracle import demonstrations

    built = []
    for name in suites:
        try:
            row = find(name)
            if row.kind != "suite" or row.model != "chat":
                raise ConfigError(f"{name} has no gold episodes to learn from; {', '.join(GENERATED_SKILLS)} have")
            built.append((row.name, build_skill(name, seed=seed, counts={"train": samples})))
        except ValueError as error:
            raise ConfigError(str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)
    for name, skill in built:
        with (
            err.status(f"Playing {samples} gold episodes of {name}"),
            Sandboxes(run_id=f"record-{name.replace('_', '-')}", max_containers=_CONTAINERS) as sandboxes,
        ):
            conversations = demonstrations(skill, skill.samples("train"), sandboxes)
        file = folder / f"{name}.jsonl"
        lines = (json.dumps({"messages": messages}) + "\n" for messages in conversations)
        file.write_text("".join(lines), encoding="utf-8")
        out.print(f"{len(conversations)} conversations written to {file}.", soft_wrap=True)


def _show(skill: str, found: dict[str, Any]) -> None:
    n = found["decontamination"]
    counts = ("rows", "elsewhere", "malformed", "contaminated", "capped", "kept")
    title = (
        f"{skill}: {found['conversations']} conversations, "
        + ("length unknown" if found["too_long"] is None else f"{found['too_long']} too long")
        + (f", {found['refused']} refused by the chat template" if found["refused"] else "")
        + f", decontamination {f'by {n} words' if n else 'off'}, hash {found['hash'][:12]}"
    )
    header = ("source", *("other subsets" if name == "elsewhere" else name for name in counts))
    rows = [
        (f"{source['recipe']}: {source['path']}", *(str(source[name]) for name in counts))
        for source in found["sources"]
    ]
    print_table(out, header, rows, title=title)


def _tokenizer(name: str) -> Any:
    """The base model's tokenizer without its weights; None, with a warning, where it cannot be had."""
    from cycleqd.base_model import is_gguf, resolve_base
    from cycleqd.models.causal_lm.rendering import load_tokenizer
    from cycleqd.packed_models import PACKED
    from cycleqd.storage import cache_dir

    place = resolve_base(name, cache_dir()) if name in PACKED or is_gguf(name) else name
    try:
        return load_tokenizer(place)
    except Exception as error:  # the libraries raise all classes over what is in a file
        first = str(error).partition("\n")[0]
        err.print(Text(f"Lengths are not counted: no tokenizer of {name} ({first})", style="yellow"), soft_wrap=True)
        return None


class _Lengths(NamedTuple):
    """What the tokenizer makes of conversations; its names are those of ``--json``.

    Attributes:
        too_long: Conversations that training leaves out; None where there is no tokenizer.
        refused: Conversations that the model's chat template does not render.
        first_refused: Which is the first of them (counted from 1), and why.
    """

    too_long: int | None
    refused: int = 0
    first_refused: str = ""


def _lengths(tokenizer: Any, conversations: list[Any], max_length: int) -> _Lengths:
    from cycleqd.experts import encode

    if tokenizer is None:
        return _Lengths(None)
    ends = (tokenizer.eos_token_id,)
    too_long = refused = 0
    first = ""
    for number, conversation in enumerate(conversations, start=1):
        try:
            examples = encode(tokenizer, conversation, ends)
            too_long += any(len(example.input_ids) > max_length for example in examples)
        except Exception as error:  # a template is a program, and may raise what it likes
            refused += 1
            first = first or f"conversation {number}: {error}"
    return _Lengths(too_long, refused, first)


def _faults(found: dict[str, Any]) -> Iterator[str]:
    """The first fault of each kind, a line each."""
    for source in found["sources"]:
        if source["first_fault"]:
            yield f"First malformed of {source['path']}: {source['first_fault']}"
        if source["first_shared"]:
            yield f"First contaminated of {source['path']} shares: {source['first_shared']}"
    if found["first_refused"]:
        yield f"First refused by the chat template: {found['first_refused']}"


@data.callback()
def _group() -> None:
    """Keeps `inspect` a command of its own while it is the only one."""
