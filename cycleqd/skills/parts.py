"""Parts of a split, so that a search can spend samples where they decide.

A part is named after its split and, where it is not the whole, after the samples that it has: ``optimization.16-32``
has the samples 16 to 31 of the optimization split, in the split's order. The name stands wherever a split's does: in
records, keys and logs. Whoever is scored on several parts meets other samples on each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

from cycleqd.skills.protocol import Sample, Skill, Split

Part = str
"""The name of a split or of a part of one."""

_RANGE: Final = re.compile(r"([a-z]+)\.(\d+)-(\d+)")


def block(number: int, size: int | None) -> Part:
    """The part with block `number` of the optimization split, cut into blocks of `size`; the whole split for None."""
    return "optimization" if size is None else f"optimization.{number * size}-{(number + 1) * size}"


def split_of(part: Part) -> Split:
    """The split that a part belongs to."""
    return cast(Split, part.partition(".")[0])


def samples_of(skill: Skill, part: Part) -> Sequence[Sample]:
    """The samples of a part.

    Raises:
        ValueError: The name is none, or the skill's split has fewer samples.
    """
    if "." not in part:
        return skill.samples(cast(Split, part))
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ValueError(f"expected a split or a part like optimization.16-32, got {part!r}")
    samples, first, end = skill.samples(cast(Split, match[1])), int(match[2]), int(match[3])
    if not first < end <= len(samples):
        raise ValueError(f"{skill.name} has {len(samples)} {match[1]} samples, and no part {part}")
    return samples[first:end]
