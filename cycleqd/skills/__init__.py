"""Skills: abilities of a model with a score in [0, 1], measured by letting it act in a sandbox.

A skill has samples in disjoint splits, opens an episode per sample, and judges the episode's end. The demo suites
are generated here from seeded templates; each sample has a gold solution, and the test split also holds templates
that no other split has seen. Benchmarks read a file (`cycleqd.skills.benchmarks.benchmark`) and split it in halves.
Public: `build_skill`, the tables `SUITES` and `BENCHMARKS`; the protocol lives in `cycleqd.skills.protocol`,
agents that play without a model in `cycleqd.skills.oracle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cycleqd.skills.benchmarks.agentbench_db.skill import AgentBenchDbSkill
from cycleqd.skills.benchmarks.agentbench_os.skill import AgentBenchOsSkill
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.benchmarks.mbpp_plus.skill import MbppPlusSkill
from cycleqd.skills.protocol import Skill, Split
from cycleqd.skills.suites.coding import CodingSkill
from cycleqd.skills.suites.db import DbSkill
from cycleqd.skills.suites.os_shell import OsSkill


class SuiteBuilder(Protocol):
    """Generates a skill from a seed and the sizes of its splits."""

    def __call__(self, *, seed: int, counts: Mapping[Split, int]) -> Skill:
        """Builds the skill."""
        ...


class BenchmarkBuilder(Protocol):
    """Reads a skill from its benchmark's data; `None` samples of a split are the whole half."""

    def __call__(self, *, counts: Mapping[Split, int | None], source: Source) -> Skill:
        """Builds the skill."""
        ...


SUITES: Mapping[str, SuiteBuilder] = {
    "coding": CodingSkill,  # MBPP-like functions
    "os": OsSkill,  # AgentBench-like shell
    "db": DbSkill,  # AgentBench-like SQL
}

BENCHMARKS: Mapping[str, BenchmarkBuilder] = {
    "mbpp_plus": MbppPlusSkill,  # MBPP+, through evalplus
    "agentbench_db": AgentBenchDbSkill,  # AgentBench's database tasks
    "agentbench_os": AgentBenchOsSkill,  # AgentBench's shell tasks
}


def build_skill(
    name: str,
    *,
    seed: int = 0,
    counts: Mapping[Split, int | None],
    source: Source = Source(),  # noqa: B008 -- frozen
) -> Skill:
    """Builds a skill.

    Args:
        name: A name of `SUITES` or `BENCHMARKS`.
        seed: Seed of a generated suite, at least 0; the same seed and counts give the same samples.
        counts: Samples per split. A suite's split that is left out is empty, a benchmark's is its whole half.
        source: Where a benchmark's data lies; generated suites take none.

    Raises:
        ValueError: There is no such skill, or it holds fewer distinct problems than asked for.
        DataUnavailable: The benchmark's data can't be found or read, or a generated suite is given some.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name](counts=counts, source=source)
    if name not in SUITES:
        raise ValueError(f"no skill is called {name!r}; there are {', '.join((*SUITES, *BENCHMARKS))}")
    if source != Source():
        raise DataUnavailable(f"{name} is generated and takes no data, prompt file, exclusions, split seed or turns")
    return SUITES[name](seed=seed, counts={split: count for split, count in counts.items() if count is not None})


__all__ = ["BENCHMARKS", "SUITES", "BenchmarkBuilder", "SuiteBuilder", "build_skill"]
