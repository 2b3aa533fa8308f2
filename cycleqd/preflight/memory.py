"""Whether making weights stays within `memory_limit`, and what it would take where it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

from cycleqd.config import RunConfig
from cycleqd.task_vector.matrices import is_stack, matrix_names
from cycleqd.task_vector.rows import BLOCK_BYTES

LIBRARIES_BYTES: Final = int(0.6 * 2**30)
"""Python, torch and transformers in a process that makes weights."""
_BLOCKS: Final = 6
"""Blocks in fp32 at a time, at most: two checkpoints' rows as they are stored and in fp32, difference, hash."""


class Need(NamedTuple):
    """What a step holds at its worst.

    Attributes:
        step: In words.
        bytes: Libraries included.
        parameter: The parameter at which it is; empty where all count.
        setting: What asks for the step.
    """

    step: str
    bytes: int
    parameter: str
    setting: str


class _Matrix(NamedTuple):
    """The parts of memory that an m x n matrix takes in fp64, in bytes, with k vectors of it."""

    m: int
    n: int
    k: int

    @property
    def one(self) -> int:
        """The matrix."""
        return 8 * self.m * self.n

    @property
    def decomposed(self) -> int:
        """An SVD: LAPACK's copy, the singular vectors and its workspace."""
        least = min(self.m, self.n)
        return self.one + 8 * least * (self.m + self.n) + 32 * least**2


_WHOLE: Final[Mapping[str, Callable[[_Matrix], int]]] = {
    "slerp": lambda matrix: (matrix.k + 4) * matrix.one,
    "iso_c": lambda matrix: (matrix.k + 3) * matrix.one + matrix.decomposed,
    "tsv": lambda matrix: (matrix.k + 2) * matrix.one + (matrix.k + 1) * matrix.decomposed,
    "knots": lambda matrix: (3 * matrix.k + 1) * matrix.one + 2 * matrix.k * matrix.decomposed,
}
"""Merge methods that see a dense matrix whole."""
_IN_BLOCKS: Final = frozenset({"average", "linear", "task_arithmetic", "ties", "dare", "regmean"})
_ON_ENTRIES: Final = frozenset({"ties", "dare"})


def needs(config: RunConfig, shapes: Mapping[str, tuple[int, ...]], *, dense: bool) -> list[Need]:
    """What each step holds that makes weights, the largest first; estimates, meant to be right within a factor of 2.

    Args:
        config: The run's settings.
        shapes: The base's parameters.
        dense: Whether the experts' task vectors are dense; else they are factored.
    """
    block = min(BLOCK_BYTES, 4 * max((prod(shape) for shape in shapes.values()), default=0))
    found = [Need("rows in fp32", _BLOCKS * block, "", "model.name")]
    # A stack's matrices go through one by one.
    matrices = {name: (shape[-2], shape[-1]) for name, shape in shapes.items() if matrix_names(name, shape)}
    if not dense:
        matrices = {name: shape for name, shape in matrices.items() if not is_of_tokens(name)}
    if matrices:
        name = max(matrices, key=lambda one: prod(matrices[one]))
        count = len(config.skills)
        found += _of_dense(config, name, matrices[name]) if dense else _of_factored(config, name, matrices)
        found += _of_merges(config, name, _Matrix(*matrices[name], count), dense=dense)
    stacks = [_Matrix(shape[1], shape[2], len(config.skills)) for shape in shapes.values() if is_stack(shape)]
    if dense and stacks:
        found += _of_stacks(config, max(stacks, key=lambda one: one.one))
    told = [one._replace(bytes=one.bytes + LIBRARIES_BYTES) for one in found]
    return sorted(told, key=lambda one: -one.bytes)


def is_of_tokens(name: str) -> bool:
    """Whether a parameter is an embedding or an output head, which adapters leave alone."""
    return any(part in name for part in ("embed", "lm_head", "wte", "wpe"))


def is_dense(config: RunConfig) -> bool:
    """Whether the experts' task vectors are dense, as far as settings and folders tell."""
    sources = [Path(source).expanduser() for source in config.experts.source.values()]
    # The mask decoder of a SAM is trained whole.
    if config.model.kind == "segmentation":
        return True
    if config.experts.truncation is not None:
        return False
    return config.experts.method == "full" or any((source / "config.json").is_file() for source in sources)


def _of_dense(config: RunConfig, name: str, shape: tuple[int, int]) -> Iterator[Need]:
    m, n = shape
    least = min(shape)
    decomposed = 4 * least * (2 * m + n) + 16 * least**2
    if config.experts.spectral:
        held = 4 * m * n * (len(config.skills) + 1) + len(config.skills) * decomposed
        yield Need("the decomposition of the experts' changes of a matrix", held, name, "experts.spectral")
    elif config.mutation.kind == "svd":
        yield Need("the SVD of a child's matrix", 4 * m * n * 5 + decomposed, name, "mutation.kind")


def _of_factored(config: RunConfig, name: str, matrices: Mapping[str, tuple[int, int]]) -> Iterator[Need]:
    sides = bytes_of_sides(matrices.values(), rank_of(config, matrices.values()) * len(config.skills))
    # The experts' factors, and the bases that are made of them.
    yield Need("the bases of all experts", 2 * sides, "", "experts.rank")
    m, n = matrices[name]
    yield Need("a delta in fp32 beside the bases", sides + 4 * m * n + 2 * BLOCK_BYTES, name, "experts.method")


def rank_of(config: RunConfig, matrices: Collection[tuple[int, int]]) -> int:
    """The rank of one expert's change, at most."""
    truncation = config.experts.truncation
    if truncation is None:
        return config.experts.rank
    return truncation.rank or max(map(max, matrices))


def bytes_of_sides(matrices: Collection[tuple[int, int]], rank: int) -> int:
    """What both sides of matrices of a rank take in fp32: of factors, and of orthonormal bases."""
    return 4 * sum(min(rank, m) * m + min(rank, n) * n for m, n in matrices)


def _of_merges(config: RunConfig, name: str, matrix: _Matrix, *, dense: bool) -> Iterator[Need]:
    asked = {
        **{(one.method, one.settings.get("alignment")): "baselines" for one in config.baselines},
        (config.search.merge, None): "search.merge",
        (config.crossover.kind, config.crossover.merge.get("alignment")): "crossover.kind",
    }
    for (method, alignment), setting in asked.items():
        known = method in _IN_BLOCKS or (method in _WHOLE and alignment != "left")
        if (dense or not known) and method not in _IN_BLOCKS:
            # Of a method that is not ours we know nothing, so it counts as the hungriest.
            held = _WHOLE.get(method, _WHOLE["knots"])(matrix)
            yield Need(f"{method} on a whole matrix", held, name, setting)
        elif not dense and method in _ON_ENTRIES:
            # Parents are multiplied out in fp32; the merge is brought back to the bases in fp64.
            yield Need(f"{method} and the way back to the bases", (matrix.k + 4) * matrix.one // 2, name, setting)


def _of_stacks(config: RunConfig, matrix: _Matrix) -> Iterator[Need]:
    asked = {one.method: "baselines" for one in config.baselines}
    asked |= {config.search.merge: "search.merge", config.crossover.kind: "crossover.kind"}
    for method in sorted(asked.keys() & _ON_ENTRIES):
        # TIES sorts the magnitudes of all vectors, which takes their places, too.
        yield Need(f"{method} on a matrix of a stack", (7 * matrix.k + 2) * matrix.one, "", asked[method])


def lacking(config: RunConfig, shapes: Mapping[str, tuple[int, ...]], *, dense: bool) -> str:
    """What is to be said where `memory_limit` cannot be kept; empty where it can, or there is none."""
    if config.memory_limit is None:
        return ""
    limit = config.memory_limit * 2**30
    beyond = [one for one in needs(config, shapes, dense=dense) if one.bytes > limit]
    told = [
        f"{one.step} takes about {one.bytes / 2**30:.1f} GiB{f' ({one.parameter})' if one.parameter else ''}, which "
        f"{one.setting} asks for"
        for one in beyond
    ]
    return f"memory_limit is {config.memory_limit:g} GiB: {'; '.join(told)}" if told else ""
