"""Skills: abilities of a model with a score in [0, 1], measured by letting it act in a sandbox.

A skill has samples in disjoint splits, opens an episode per sample, and judges the episode's end. The demo suites
are generated here from seeded templates; each sample has a gold solution, and the test split also holds templates
that no other split has seen. Public: `build_skill`, the table `SKILLS`; the protocol lives in
`cycleqd.skills.protocol`, agents that play without a model in `cycleqd.skills.oracle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cycleqd.skills.coding import CodingSkill
from cycleqd.skills.db import DbSkill
from cycleqd.skills.os_shell import OsSkill
from cycleqd.skills.protocol import Skill, Split


class SkillBuilder(Protocol):
    """Makes a skill of a seed and the sizes of its splits."""

    def __call__(self, *, seed: int, counts: Mapping[Split, int]) -> Skill:
        """Builds the skill."""
        ...


SKILLS: Mapping[str, SkillBuilder] = {
    "coding": CodingSkill,  # MBPP-like functions
    "os": OsSkill,  # AgentBench-like shell
    "db": DbSkill,  # AgentBench-like SQL
}


def build_skill(name: str, *, seed: int, counts: Mapping[Split, int]) -> Skill:
    """Builds a skill's demo suite.

    Args:
        name: A name of `SKILLS`.
        seed: Seed of the suite, at least 0; the same seed and counts give the same samples.
        counts: Samples per split; a split that is left out is empty.

    Raises:
        ValueError: There is no such skill, or its templates hold fewer distinct problems than asked for.
    """
    if name not in SKILLS:
        raise ValueError(f"no skill is called {name!r}; there are {', '.join(SKILLS)}")
    return SKILLS[name](seed=seed, counts=counts)


__all__ = ["SKILLS", "SkillBuilder", "build_skill"]
