"""A recipe that mergekit knows: weighted sums of the experts, expanded through the lineage.

The final model of a search is usually mutated, and most merge methods here differ from those of the same name there in
how they normalise. Only what gives the same model is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import yaml

from cycleqd.config import RunConfig
from cycleqd.experts.sources.location import parse
from cycleqd.run.names import TRUNCATED, expert_id, expert_key
from cycleqd.run.records import IndividualRecord
from cycleqd.run.source_record import SourceRecord
from cycleqd.run.store import RunStore


def expert_coefficients(identifier: str, read: Callable[[str], IndividualRecord]) -> dict[str, float] | None:
    """What each expert's task vector is multiplied by in an individual; None where it is no weighted sum of them.

    Args:
        identifier: The individual's id.
        read: Gives a recipe by id, e.g. `RunStore.individual`.
    """
    known: dict[str, dict[str, float] | None] = {}
    waiting = [identifier]
    while waiting:  # a loop, as a lineage may be deeper than Python's stack
        record = read(waiting[-1])
        if missing := [parent for parent in record.parents if parent not in known]:
            waiting += missing
            continue
        waiting.pop()
        known[record.id] = _expanded(record, known)
    return known[identifier]


def _expanded(record: IndividualRecord, known: dict[str, dict[str, float] | None]) -> dict[str, float] | None:
    if not record.parents:  # an expert, or something else that the run has made, such as a share of RegMean
        return {record.id: 1.0} if record.id.startswith(expert_id("")) else None
    method, scale = record.merge.get("method", "sum"), record.merge.get("scale", 1.0)
    if record.mutation.get("kind", "none") != "none" or method not in ("sum", "linear", "task_arithmetic"):
        return None
    coefficients = record.coefficients or [1.0] * len(record.parents)
    if method == "linear":
        total = math.fsum(coefficients)
        coefficients = [coefficient / total for coefficient in coefficients]
    found: dict[str, float] = {}
    for parent, coefficient in zip(record.parents, coefficients, strict=True):
        of_parent = known[parent]
        if of_parent is None:
            return None
        for expert, share in of_parent.items():
            found[expert] = found.get(expert, 0.0) + float(scale) * coefficient * share
    return dict(sorted(found.items()))


def mergekit_recipe(store: RunStore, identifier: str, base: str, dtype: str) -> str | None:
    """The individual as a mergekit configuration; None where it is nothing that mergekit knows.

    Args:
        store: The run.
        identifier: The individual.
        base: The base model's public name.
        dtype: Of the numbers that are written; sums are formed in fp32, as here.
    """
    shares = expert_coefficients(identifier, store.individual)
    if shares is None or identifier in shares:
        return None
    config, models = store.config(), []
    for expert, share in shares.items():
        skill = next((skill for skill in config.skill_names if expert_id(skill) == expert), None)
        model = None if skill is None else _model(store, config, skill, base)
        if model is None:
            return None
        models.append({"model": model, "parameters": {"weight": share}})
    recipe: dict[str, Any] = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": models,
        "parameters": {"normalize": False, "lambda": 1.0},
        "dtype": "float32",
        "out_dtype": dtype,
    }
    text: str = yaml.safe_dump(recipe, sort_keys=False)
    return text


def _model(store: RunStore, config: RunConfig, skill: str, base: str) -> str | None:
    """An expert as mergekit names it: ``base+adapter`` puts a LoRA adapter on a base, ``@`` a commit behind a hub id.

    None where its files are not the expert: it was truncated, or its files mean something else to mergekit.
    """
    if store.exists(expert_key(skill, TRUNCATED)):
        return None
    key = expert_key(skill, "source.json")
    if store.exists(key):
        record = store.record(SourceRecord, key)
        if not record.as_others_read:
            return None
        name = f"{parse(record.given)[0]}@{record.revision}" if record.revision else record.folder
        return f"{base}+{name}" if record.kind == "adapter" else name
    model = f"RUN/{expert_key(skill, 'model')}"
    return f"{base}+{model}" if config.experts.method == "lora" else model
