"""Building a skill: its samples, from a seed or from a benchmark's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.protocol import Skill, Split
from cycleqd.skills.registry import BUILT_IN, INSPECT, SkillRow, find, load

NO_IMAGES: Final[Mapping[str, Any]] = MappingProxyType({})
"""The usual settings of segmentation."""


class SuiteBuilder(Protocol):
    """Generates a skill from a seed and the sizes of its splits: the class of a suite."""

    def __call__(self, *, seed: int, counts: Mapping[Split, int]) -> Skill:
        """Builds the skill."""
        ...


class BenchmarkBuilder(Protocol):
    """Reads a skill from its data; `None` samples of a split are the whole half: the class of a benchmark."""

    def __call__(self, *, counts: Mapping[Split, int | None], source: Source) -> Skill:
        """Builds the skill."""
        ...


def build_skill(
    name: str,
    *,
    seed: int = 0,
    counts: Mapping[Split, int | None],
    source: Source = Source(),  # noqa: B008 -- frozen
    images: Mapping[str, Any] = NO_IMAGES,
) -> Skill:
    """Builds a skill.

    Args:
        name: A name of `cycleqd.skills.registry.names`, or ``module:Class``.
        seed: Seed of a generated suite, at least 0; the same seed and counts give the same samples.
        counts: Samples per split. A suite's split that is left out is empty, a benchmark's is its whole half.
        source: Where a benchmark's data lies; generated suites take none.
        images: For segmentation: ``size`` of generated images and kind of ``prompt``, where they are not the usual.

    Raises:
        SkillUnavailable: There is no such skill, or it can't be loaded.
        ValueError: It holds fewer distinct problems than asked for.
        DataUnavailable: The benchmark's data can't be found or read, or a generated suite is given some.
    """
    row = find(name)
    if row.model == "segmentation":
        return _segmentation(row, seed, counts, source, images)
    if row.kind in ("benchmark", "dataset"):
        options = {"name": row.name} if row.target in (BUILT_IN["jsonl"].target, INSPECT.target) else {}
        return cast(BenchmarkBuilder, load(row.target))(counts=counts, source=source, **options)
    if source != Source():
        raise _takes_none(row)
    given = {split: count for split, count in counts.items() if count is not None}
    return cast(SuiteBuilder, load(row.target))(seed=seed, counts=given)


def _segmentation(
    row: SkillRow, seed: int, counts: Mapping[Split, int | None], source: Source, images: Mapping[str, Any]
) -> Skill:
    make: Callable[..., Skill] = load(row.target)
    if row.kind == "dataset":
        told = {name: value for name, value in images.items() if name == "prompt"}
        return make(name=row.name, counts=counts, source=source, **told)
    if source != Source():
        raise _takes_none(row)
    given = {split: count for split, count in counts.items() if count is not None}
    return make(name=row.name, seed=seed, counts=given, **images)


def _takes_none(row: SkillRow) -> DataUnavailable:
    return DataUnavailable(f"{row.name} is generated and takes no data, prompt file, exclusions, split seed or turns")
