"""The experts' shares of RegMean: measured once, kept as low-rank factors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from cycleqd.experts import encode, with_room
from cycleqd.experts.input_moments import input_moments, lacking_memory
from cycleqd.experts.regmean import regmean_parts
from cycleqd.experts.sources import Update
from cycleqd.model_layout import is_one_expert
from cycleqd.models.causal_lm.rendering import end_tokens, load_tokenizer
from cycleqd.randomness import rng
from cycleqd.run.names import REGMEAN_KEY
from cycleqd.steps.training_data import training_data
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import LoraFactors
from cycleqd.task_vector.files import TensorFile, write_tensors
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a skill, the conversations done, and their number."""
Shares = dict[str, dict[str, LoraFactors]]
"""Factors by skill and parameter name."""


def regmean_shares(ws: Workspace, updates: Mapping[str, Update], progress: Progress | None = None) -> Shares:
    """The experts' shares of RegMean; measured where the run has none yet.

    Args:
        ws: The run.
        updates: The experts minus the base, by skill.
        progress: Called while inputs are measured.

    Raises:
        ValueError: An expert is no change of low rank, or the moments would not fit into memory.
    """
    if not ws.store.exists(REGMEAN_KEY):
        with ws.training():
            shares = _measured(ws, updates, progress)
            with ws.store.writing(REGMEAN_KEY, replace=True) as path:
                tensors = {
                    f"{skill}/{side}/{name}": tensor
                    for skill, factors in shares.items()
                    for name, (a, b, _) in factors.items()
                    for side, tensor in (("a", a), ("b", b))
                }
                write_tensors(path, {key: tuple(t.shape) for key, t in tensors.items()}, tensors.__getitem__, {})
    return _read(ws)


def _measured(ws: Workspace, updates: Mapping[str, Update], progress: Progress | None) -> Shares:
    if dense := sorted(skill for skill, update in updates.items() if update.dense is not None):
        raise ValueError(
            f"regmean needs experts of low rank, but {', '.join(dense)} changes whole tensors: "
            "choose another baseline or search.merge"
        )
    names = sorted({name for update in updates.values() for name in update.factors})
    _refuse_too_large(updates, ws.config.memory_limit)
    settings, base = ws.config.regmean, ws.evaluator.base
    tokenizer = load_tokenizer(base)
    ends = end_tokens(tokenizer, base)
    sight, moments = ws.evaluator.sight, {}
    for skill, update in updates.items():
        conversations = training_data(ws, skill)
        order = rng(ws.config.seed, 0, f"regmean {skill}").permutation(len(conversations))[: settings.conversations]
        rows = [
            row
            for index in order
            for one in encode(tokenizer, conversations[index], ends, date=ws.config.model.date)
            if (row := with_room(one, sight.tokens if sight else 1))
            and len(row.input_ids) <= ws.config.experts.max_length_of(skill)
        ]
        log.info("measuring what the %s expert reads, on %d conversations", skill, len(rows))
        moments[skill] = input_moments(
            base,
            update.factors,
            rows,
            names,
            dtype=ws.config.model.dtype,
            sight=sight,
            progress=partial(progress, skill) if progress else None,
            stop=ws.evaluator.stop,
        )
        event("inputs_measured", run=ws.config.run_id, skill=skill, conversations=len(rows))
    factors = {skill: update.factors for skill, update in updates.items()}
    return regmean_parts(factors, moments, shrinkage=settings.shrinkage)


def _refuse_too_large(updates: Mapping[str, Update], limit: float | None) -> None:
    """Refuses what might not fit; layers that read the same tensor share their moments, so somewhat less is needed."""
    widths = {
        name: factors.a.shape[1]
        for update in updates.values()
        for name, factors in update.factors.items()
        if not is_one_expert(name)
    }
    if lacking := lacking_memory(list(widths.values()), len(updates), limit):
        raise ValueError(f"{lacking}: choose another baseline or search.merge")


def _read(ws: Workspace) -> Shares:
    file = TensorFile(ws.store.local(REGMEAN_KEY))
    shares: Shares = {skill: {} for skill in ws.config.skill_names}
    for key in file.names():
        skill, side, name = key.split("/", 2)
        if side == "a":
            shares[skill][name] = LoraFactors(file.tensor(key), file.tensor(f"{skill}/b/{name}"), 1.0)
    return shares
