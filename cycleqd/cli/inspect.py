"""The command that says what a model of anybody's is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cycleqd.cli.common import UNFIT, err, out, print_fault
from cycleqd.cli.tables import print_table
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

    What is no model at all is told last. Exit code 1 if one of them cannot be an expert of that base (experts.source).
    """
    from cycleqd.experts.inspection import inspect_models
    from cycleqd.storage import cache_dir

    with err.status("Reading"):
        found = inspect_models(models, cache_dir(), base=base)
    unknown = [model for model in found.models if not model.kind]
    if as_json:
        sys.stdout.write(json.dumps(_as_data(found), indent=2) + "\n")
    else:
        for model in found.models:
            if model.kind:
                _print_model(model)
        if found.likenesses:
            _print_likenesses(found.likenesses)
    for model in unknown:
        print_fault(model.fault)
    if any(model.fault for model in found.models):
        raise typer.Exit(UNFIT)


def _as_data(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {key: _as_data(item) for key, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return value


def _print_model(model: Inspected) -> None:
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
    facts = [
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in rows.items()
    ]
    print_table(out, ("fact", "value"), facts, title=visible(model.given), prose=(1,))
    if model.layers:
        layers = [(layer.name, f"{layer.norm:.4g}", f"{layer.of_base:.2%}") for layer in model.layers]
        print_table(out, ("layer", "norm", "of the base's"), layers)


def _print_likenesses(likenesses: tuple[Likeness, ...]) -> None:
    rows = [(one.first, one.second, f"{one.cosine:.3f}") for one in likenesses]
    print_table(out, ("model", "and", "cosine of the task vectors"), rows, left=(1,))
