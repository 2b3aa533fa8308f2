"""What a run takes on disk, from its settings and the base's shapes, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final, NamedTuple

from cycleqd.baselines.naming import candidates
from cycleqd.config import RunConfig
from cycleqd.preflight.memory import bytes_of_sides, is_dense, is_of_tokens, rank_of
from cycleqd.run.upkeep.prune import PRUNE_INTERVAL
from cycleqd.task_vector.matrices import matrix_names

_FP32: Final = 4
_EPISODE_BYTES: Final = 350
"""An episode's transcript, compressed, and its line in the record: a demo took 330 (3,672 episodes, 2026-11-26)."""
_RECORD_BYTES: Final = 16 * 2**10
"""Records, archives and metrics of a generation: a demo took 16 KB."""
_REPORT_BYTES: Final = 8 * 2**20
"""A demo's report took 6 MB."""

_LINEAR: Final = frozenset({"task_arithmetic", "average", "linear"})
"""Merges of spectral experts that are spectral."""

Shapes = Mapping[str, tuple[int, ...]]


class Part(NamedTuple):
    """One kind of object.

    Attributes:
        name: In words.
        bytes: What all of them take at the end of the run.
        setting: What asks for them.
    """

    name: str
    bytes: int
    setting: str


def parts(config: RunConfig, shapes: Shapes, stored: int) -> list[Part]:
    """What a finished run keeps, the largest first; meant to be right within a factor of 2.

    Args:
        config: The run's settings.
        shapes: The base's parameters.
        stored: Bytes of the base's weights.
    """
    experts = len(config.skills)
    models = len(config.trained) + int(config.comparison.all_data)
    individuals = experts + 2 + len(candidates(config.baselines)) + _kept_children(config)
    episodes = _episodes(config)
    found = [
        Part("report", _REPORT_BYTES, "generations"),
        Part("records and transcripts", episodes * _EPISODE_BYTES + config.generations * _RECORD_BYTES, "generations"),
        Part("the final checkpoint", stored, "model.name"),
    ]
    if is_dense(config):
        whole = _FP32 * sum(map(prod, shapes.values()))
        found.append(Part("experts", models * whole, "experts.method"))
        if config.experts.spectral:
            values, sides = _spectrum(shapes)
            found.append(Part("decompositions", experts * _FP32 * sides, "experts.spectral"))
            found.append(Part("individuals", individuals * experts * _FP32 * values, "retention.policy"))
            merged = sum(one.method not in _LINEAR for one in candidates(config.baselines))
            found.append(Part("baselines that are not linear", merged * whole, "baselines"))
            return sorted(found, key=lambda one: -one.bytes)
        found.append(Part("individuals", (individuals + int(config.comparison.all_data)) * whole, "retention.policy"))
        return sorted(found, key=lambda one: -one.bytes)
    matrices = [(shape[-2], shape[-1]) for name, shape in shapes.items() if _adapted(name, shape)]
    rank = rank_of(config, matrices)
    shares = experts if config.uses_regmean else 0
    width = (experts + shares) * rank
    trained = (
        _FP32 * sum(map(prod, shapes.values())) if config.experts.method == "full" else bytes_of_sides(matrices, rank)
    )
    final = width + (config.experts.rank if config.refinement.epochs else 0)
    bases = bytes_of_sides(matrices, width)
    if config.refinement.epochs:  # the refined model has bases of its own
        bases += bytes_of_sides(matrices, final)
    if config.comparison.all_data:
        bases += bytes_of_sides(matrices, rank)
    found += [
        # With the experts lie the measured shares of RegMean.
        Part(
            "experts",
            models * trained + shares * bytes_of_sides(matrices, rank),
            "experts.rank" if config.experts.method == "lora" else "experts.method",
        ),
        Part("bases", bases, "experts.rank"),
        Part("individuals", (individuals + shares) * _cores(matrices, width), "retention.policy"),
        Part("the final adapter", bytes_of_sides(matrices, final), "experts.rank"),
    ]
    return sorted(found, key=lambda one: -one.bytes)


def at_the_end(config: RunConfig, stored: int) -> int:
    """Bytes that are taken besides while the final model is written: its copy, which then takes its place."""
    return stored + (stored if config.refinement.epochs else 0)


def _adapted(name: str, shape: tuple[int, ...]) -> bool:
    return bool(matrix_names(name, shape)) and not is_of_tokens(name)


def _spectrum(shapes: Shapes) -> tuple[int, int]:
    """Singular values of all matrices, and the numbers of an expert's decomposition."""
    values = sides = 0
    for shape in shapes.values():
        if len(shape) != 2:
            sides += prod(shape)
            continue
        m, n = shape
        values += min(m, n)
        sides += min(m, n) * (m + n + 1)
    return values, sides


def _cores(matrices: list[tuple[int, int]], rank: int) -> int:
    return _FP32 * sum(min(rank, m) * min(rank, n) for m, n in matrices)


def _kept_children(config: RunConfig) -> int:
    """Children whose weights are there at the same time, at most."""
    kept = config.generations
    if config.retention.policy != "keep-all":
        cells = len(config.skills) * config.grid.bins ** (len(config.skills) - 1)
        kept = min(kept, cells + PRUNE_INTERVAL)
        if config.retention.policy == "keep-every-n":
            kept = min(config.generations, kept + config.generations // config.retention.every)
    return kept


def _episodes(config: RunConfig) -> int:
    """Episodes of the whole run, as far as the splits' sizes are said."""
    split = sum(skill.counts["optimization"] or 0 for skill in config.skills)
    child = split if config.search.block is None else config.search.block * len(config.skills)
    tested = 4 + 2 * len(config.skills) + len(config.baselines)
    scored = config.generations + len(candidates(config.baselines)) + len(config.skills) + 3
    return scored * child + tested * sum(skill.counts["test"] or 0 for skill in config.skills)
