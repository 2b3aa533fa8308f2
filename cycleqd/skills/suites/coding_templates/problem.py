"""Turns a sentence, a gold body and a reference into the draft of a coding problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cycleqd.skills.suites.generation import Draft, between


def problem(
    *,
    name: str,
    arguments: str,
    task: str,
    body: str,
    reference: Callable[..., Any],
    inputs: Sequence[tuple[Any, ...]],
) -> Draft:
    """Builds a draft.

    Args:
        name: The function's name, shown in the assertion.
        arguments: Its parameter list.
        task: What it must do, continuing "Write a function to".
        body: Gold statements, indented as in the function.
        reference: Computes the expected value of one input; returns literals only.
        inputs: Argument tuples; the first is shown in the prompt, the others stay hidden.
    """
    expected = [reference(*arguments_) for arguments_ in inputs]
    shown = ", ".join(map(repr, inputs[0]))
    return Draft(
        f"Write a function to {task}.",
        {
            "entry_point": name,
            "assertion": f"assert {name}({shown}) == {expected[0]!r}",
            "calls": [repr(tuple(arguments_)) for arguments_ in inputs],
            "expected": [repr(value) for value in expected],
            "gold": f"def {name}({arguments}):\n    {body}",
        },
    )


def integers(rng: np.random.Generator, count: int, low: int = -20, high: int = 60) -> list[int]:
    """`count` integers from `low` to `high`, both included."""
    return [between(rng, low, high) for _ in range(count)]


def mixed_with(rng: np.random.Generator, values: Sequence[int], *, count: int, low: int, high: int) -> list[int]:
    """A shuffled list of `count` random integers and the given `values`, which are the edges of a condition."""
    items = [*integers(rng, count, low, high), *values]
    return [items[int(i)] for i in rng.permutation(len(items))]
