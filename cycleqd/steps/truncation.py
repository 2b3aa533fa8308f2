"""Experts of all ranks brought to a low one, so that every operator on factors can be had for them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cycleqd.experts.sources import Update
from cycleqd.models.hardware import torch_device
from cycleqd.run.names import TRUNCATED, expert_key, truncated_key
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import LoraFactors, TaskVector
from cycleqd.task_vector.files import TensorFile, write_tensors
from cycleqd.task_vector.truncation import Truncated, truncated
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)

_WORST: Final = 3
"""Matrices that are named in the log, those of which most is lost."""


def low_rank(ws: Workspace, name: str, update: Update) -> Update:
    """An expert whose dense changes are truncated to factors, as `ExpertConfig.truncation` says.

    Only the weights of linear layers are kept, which are what a LoRA adapter can hold. What else the expert changed
    (embeddings, output head, norms, biases) stays as in the base. How much of every parameter's change is lost is
    written down. Each matrix is decomposed once: a start that was killed goes on with the next.

    Args:
        ws: The run.
        name: Whose change it is: a skill, or another name under `expert_key`.
        update: The expert minus the base. Without a dense part, or where nothing is to be truncated, it is returned
            as it is.

    Raises:
        ValueError: No linear layer's weight is changed, or a value is not finite.
    """
    limit = ws.config.experts.truncation
    if limit is None or update.dense is None:
        return update
    linear = set(ws.evaluator.base_weights.matrices()) & set(update.dense.names())
    if not (linear or update.factors):
        raise ValueError(f"the {name} expert changes no weight of a linear layer: unset experts.truncation")
    settings = limit.model_dump(mode="json")
    factors: dict[str, LoraFactors] = dict(update.factors)
    lost: dict[str, float] = {}
    norms: dict[str, float] = {}
    for parameter in update.dense.names():
        if parameter in linear:
            factors[parameter], lost[parameter], norms[parameter] = _kept(ws, name, parameter, update.dense, settings)
        else:
            norms[parameter] = _norm(update.dense, parameter)
            lost[parameter] = 1.0 if norms[parameter] else 0.0
    ranks = {parameter: factors[parameter].a.shape[0] for parameter in sorted(linear)}
    record = _record(settings, ranks, lost, norms)
    ws.store.write_json(expert_key(name, TRUNCATED), record, replace=True)
    worst = sorted(linear, key=lambda one: -lost[one])[:_WORST]
    log.info(
        "the %s expert is truncated: %d matrices lose %.1f %% of their change (most: %s), and %d other parameters, "
        "left as in the base, held %.1f %% of all of it",
        name, len(linear), 100 * record["matrices_lost"],
        ", ".join(f"{one} {100 * lost[one]:.1f} %" for one in worst),
        len(lost) - len(linear), 100 * record["others"],
    )  # fmt: skip
    event("expert_truncated", run=ws.config.run_id, skill=name, lost=record["lost"], matrices=len(linear))
    return update._replace(factors=factors, dense=None)


def forget_matrices(ws: Workspace, name: str) -> None:
    """Removes the matrices that were kept for a start that goes on; the individual has them now."""
    record = expert_key(name, TRUNCATED)
    for parameter in ws.store.read_json(record)["ranks"] if ws.store.exists(record) else ():
        ws.store.remove(truncated_key(name, parameter))


def _kept(ws: Workspace, name: str, parameter: str, vector: TaskVector, settings: Mapping[str, Any]) -> Truncated:
    """One matrix, truncated; what an earlier start made of it, if there is that."""
    key = truncated_key(name, parameter)
    if ws.store.exists(key):
        file = TensorFile(ws.store.local(key))
        factors = LoraFactors(file.tensor("a"), file.tensor("b"), 1.0)
        return Truncated(factors, float(file.metadata["error"]), float(file.metadata["norm"]))
    made = truncated(vector.delta(parameter), rank=settings["rank"], energy=settings["energy"], device=torch_device())
    tensors = {"a": made.factors.a, "b": made.factors.b}
    metadata = {"form": "truncated", "error": made.error, "norm": made.norm}
    with ws.store.writing(key, replace=True) as path:
        write_tensors(path, {side: tuple(t.shape) for side, t in tensors.items()}, tensors.__getitem__, metadata)
    return made


def _norm(vector: TaskVector, parameter: str) -> float:
    rows = max(1, 2**22 // max(1, math.prod(vector.shape(parameter)[1:])))
    return math.sqrt(math.fsum(float(block.double().square().sum()) for block in vector.blocks(parameter, rows)))


def _record(
    settings: Mapping[str, Any], ranks: Mapping[str, int], lost: Mapping[str, float], norms: Mapping[str, float]
) -> dict[str, Any]:
    """What was lost, as shares of Frobenius norms."""

    def share(of: Iterator[float], norm: float) -> float:
        return math.sqrt(math.fsum(one**2 for one in of)) / norm if norm else 0.0

    whole = math.sqrt(math.fsum(norm**2 for norm in norms.values()))
    matrices = math.sqrt(math.fsum(norms[name] ** 2 for name in ranks))
    return {
        **settings,
        "lost": share((lost[name] * norms[name] for name in norms), whole),
        "matrices_lost": share((lost[name] * norms[name] for name in ranks), matrices),
        "others": share((norms[name] for name in norms if name not in ranks), whole),
        "ranks": dict(ranks),
        "errors": {name: float(f"{error:.6g}") for name, error in lost.items()},
    }
