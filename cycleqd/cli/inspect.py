"""The command that says what a model of anybody's is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from cycleqd.cli.common import UNFIT, err, out
from cycleqd.messages import visible

if TYPE_CHECKING:
    from cycleqd.experts.inspection import Inspected, Likeness


def inspect(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders or hub ids (owner/name@revision).")],
    base: Annotated[
        str | None, typer.Option("--base", help="The base model. Unless given: the one that an adapter names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what adapters and checkpoints are, how far they are from their base, and how alike they are.

    Exit code 1 if one of them cannot be an expert of that base (experts.source).
    """
    from cycleqd.experts.inspection import inspect_models
    from cycleqd.storage import cache_dir

    with err.status("Reading"):
        found = inspect_models(models, cache_dir(), base=base)
    if as_json:
        sys.stdout.write(json.dumps(_as_data(found), indent=2) + "\n")
    else:
        for model in found.models:
            _print_model(model)
        if found.likenesses:
            _print_likenesses(found.likenesses)
    if any(model.fault for model in found.models):
        raise typer.Exit(UNFIT)


def _as_data(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {key: _as_data(item) for key, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return value


def _print_model(model: Inspected) -> None:
    facts = Table(box=box.SIMPLE_HEAD, title=Text(visible(model.given), style="bold"), title_justify="left")
    facts.add_column("fact")
    facts.add_column("value", overflow="fold")
    rows: dict[str, Any] = {"kind": model.kind, **model.facts, "hash": model.hash[:12]}
    if model.base:
        rows["compared with"] = model.base
    if model.fault:
        rows["no expert"] = model.fault
    if model.form:
        rows["task vector"] = (
            f"{model.form}, {model.parameters} parameters, norm {model.norm:.4g} ({model.of_base:.2%} of the base's)"
        )
    for note in model.notes:
        rows[f"note {len(rows)}"] = note
    for name, value in rows.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        facts.add_row(name.replace("_", " "), Text(visible(shown)))
    out.print(facts)
    if model.layers:
        layers = Table("layer", "norm", "of the base's", box=box.SIMPLE_HEAD)
        for layer in model.layers:
            layers.add_row(layer.name, f"{layer.norm:.4g}", f"{layer.of_base:.2%}")
        out.print(layers)


def _print_likenesses(likenesses: tuple[Likeness, ...]) -> None:
    table = Table("model", "and", "cosine of the task vectors", box=box.SIMPLE_HEAD)
    for one in likenesses:
        table.add_row(Text(visible(one.first)), Text(visible(one.second)), f"{one.cosine:.3f}")
    out.print(table)
