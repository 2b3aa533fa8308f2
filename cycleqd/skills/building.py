"""Building a skill: its samples, from a seed or from a benchmark's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.protocol import Skill, Split
from cycleqd.skills.registry import BUILT_IN, find, load


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
) -> Skill:
    """Builds a skill.

    Args:
        name: A name of `cycleqd.skills.registry.names`, or ``module:Class``.
        seed: Seed of a generated suite, at least 0; the same seed and counts give the same samples.
        counts: Samples per split. A suite's split that is left out is empty, a benchmark's is its whole half.
        source: Where a benchmark's data lies; generated suites take none.

    Raises:
        SkillUnavailable: There is no such skill, or it can't be loaded.
        ValueError: It holds fewer distinct problems than asked for.
        DataUnavailable: The benchmark's data can't be found or read, or a generated suite is given some.
    """
    row = find(name)
    if row.kind == "benchmark":
        options = {"name": row.name} if row.target == BUILT_IN["jsonl"].target else {}
        return cast(BenchmarkBuilder, load(row.target))(counts=counts, source=source, **options)
    if source != Source():
        raise DataUnavailable(
            f"{row.name} is generated and takes no data, prompt file, exclusions, split seed or turns"
        )
    given = {split: count for split, count in counts.items() if count is not None}
    return cast(SuiteBuilder, load(row.target))(seed=seed, counts=given)
