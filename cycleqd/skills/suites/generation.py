"""Drawing the samples of a demo suite from templates.

A template is a function from a random generator to a `Draft`: the text of one problem and the facts that the
skill needs to run and judge it. The text decides the split: its hash falls into the share of train,
optimization or test, and a template is drawn from until enough texts of the wanted split came up. Two splits
can therefore never hold the same problem, whatever the seeds and the counts, and a longer split begins with
the shorter one.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cycleqd.skills.protocol import Sample, Split

_Item = TypeVar("_Item")

SPLITS: tuple[Split, ...] = ("train", "optimization", "test")
_SHARES: Mapping[Split, range] = {"train": range(0, 60), "optimization": range(60, 75), "test": range(75, 100)}
"""Percent of a template's texts that belong to each split."""
_HELD_OUT_EVERY = 3
"""Every third test sample comes from a template that no other split has seen."""
_MAX_DRAWS = 2000
"""Draws for one sample before a template counts as exhausted."""


class Draft(NamedTuple):
    """One problem as drawn from a template.

    Attributes:
        task: What is asked, in words. Two drafts of a template with the same text are the same problem.
        data: JSON-able facts for the skill, without the text itself.
    """

    task: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A family of problems.

    Attributes:
        name: Unique within the skill, words joined by dashes.
        draw: Draws one problem; uses no randomness but the generator's.
        held_out: Whether the template appears in the test split only.
    """

    name: str
    draw: Callable[[np.random.Generator], Draft]
    held_out: bool = False


def templates_of(
    drawing: Sequence[Callable[[np.random.Generator], Draft]], *, held_out: bool = False
) -> tuple[Template, ...]:
    """Names templates after their functions: ``count_lines`` becomes ``count-lines``."""
    return tuple(Template(draw.__name__.replace("_", "-"), draw, held_out) for draw in drawing)


def split_of(template: str, task: str) -> Split:
    """The one split that may hold this problem (unless its template is held out for test)."""
    digest = hashlib.sha256(f"{template}\n{task}".encode()).digest()
    percent = int.from_bytes(digest[:8]) % 100
    return next(split for split, share in _SHARES.items() if percent in share)


def _template_samples(skill: str, template: Template, split: Split, seed: int) -> Iterator[Sample]:
    """Endless distinct samples of one template in one split.

    Raises:
        ValueError: The template has no further text for this split.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{skill}/{template.name}".encode()), SPLITS.index(split)])
    seen: set[str] = set()
    while True:
        for _ in range(_MAX_DRAWS):
            draft = template.draw(rng)
            fits = template.held_out or split_of(template.name, draft.task) == split
            if fits and draft.task not in seen:
                break
        else:
            raise ValueError(
                f"template {skill}/{template.name} has only {len(seen)} distinct problems for the {split} split: "
                "ask for fewer samples"
            )
        seen.add(draft.task)
        data = {"task": draft.task, **draft.data}
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:10]
        yield Sample(f"{skill}/{template.name}/{digest}", skill, split, template.name, data)


def _round_robin(streams: Sequence[Iterator[Sample]]) -> Iterator[Sample]:
    while True:
        for stream in streams:
            yield next(stream)


def draw_split(
    skill: str, templates: Sequence[Template], split: Split, *, seed: int, count: int
) -> tuple[Sample, ...]:
    """Draws the first `count` samples of a split.

    Samples go round-robin over the templates in an order that depends on the seed, so that any prefix is
    balanced. Every third sample of the test split comes from a held-out template.

    Args:
        skill: The skill's name, part of every sample's id.
        templates: The skill's templates, held-out ones included, with distinct names.
        split: The split to draw.
        seed: Non-negative seed of the run.
        count: Number of samples, at least 0.

    Raises:
        ValueError: The count is negative, or a template runs out of distinct problems.
    """
    if count < 0:
        raise ValueError(f"a split needs a count of at least 0, got {count} for {skill} {split}")
    order = np.random.default_rng([seed, zlib.crc32(skill.encode())]).permutation(len(templates))
    shuffled = [templates[int(i)] for i in order]
    known = _round_robin([_template_samples(skill, t, split, seed) for t in shuffled if not t.held_out])
    if split != "test":
        return tuple(next(known) for _ in range(count))
    new = _round_robin([_template_samples(skill, t, split, seed) for t in shuffled if t.held_out])
    return tuple(next(new if i % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1 else known) for i in range(count))


def pick(rng: np.random.Generator, items: Sequence[_Item]) -> _Item:
    """One item, uniformly."""
    return items[int(rng.integers(len(items)))]


def pick_some(rng: np.random.Generator, items: Sequence[_Item], count: int) -> list[_Item]:
    """`count` different items in random order."""
    return [items[int(i)] for i in rng.permutation(len(items))[:count]]


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))
