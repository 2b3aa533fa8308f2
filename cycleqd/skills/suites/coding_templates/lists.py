"""Coding problems about lists, tuples and dictionaries."""

from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.coding_templates.problem import integers, mixed_with, problem
from cycleqd.skills.suites.generation import Draft, Template, between, pick, pick_some, templates_of

_HIDDEN = 5
_WORDS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "kid", "owl", "pig", "ram", "yak")


def _around(rng: np.random.Generator, *edges: int) -> list[tuple[list[int]]]:
    """One-argument inputs whose lists contain the edges and their neighbours; the last one is empty."""
    low, high = min(edges) - 9, max(edges) + 9
    shown = mixed_with(rng, [edges[0], edges[-1] + 1, edges[0] - 1], count=1, low=low, high=high)
    near = [value for edge in edges for value in (edge - 1, edge, edge + 1)]
    hidden = [mixed_with(rng, near, count=between(rng, 1, 5), low=low, high=high) for _ in range(_HIDDEN - 1)]
    return [(shown,), *((items,) for items in hidden), ([],)]


def keep_greater(rng: np.random.Generator) -> Draft:
    """Filter by a lower bound."""
    k = between(rng, -40, 160)
    return problem(
        name=pick(rng, ("keep_greater", "filter_above", "only_larger")),
        arguments="nums",
        task=f"keep only the numbers of a list that are greater than {k}",
        body=f"return [x for x in nums if x > {k}]",
        reference=lambda nums: [x for x in nums if x > k],
        inputs=_around(rng, k),
    )


def count_multiples(rng: np.random.Generator) -> Draft:
    """Count by divisibility."""
    k = between(rng, 2, 120)
    multiples = [k * between(rng, 1, 6) for _ in range(3)]
    inputs = [(mixed_with(rng, multiples[:2], count=2, low=1, high=5 * k),)]
    inputs += [(mixed_with(rng, multiples, count=4, low=1, high=5 * k),) for _ in range(_HIDDEN)]
    return problem(
        name=pick(rng, ("count_multiples", "multiples_in")),
        arguments="nums",
        task=f"count the numbers of a list that are divisible by {k}",
        body=f"return sum(1 for x in nums if x % {k} == 0)",
        reference=lambda nums: len([x for x in nums if x % k == 0]),
        inputs=inputs,
    )


def remove_value(rng: np.random.Generator) -> Draft:
    """Drop all occurrences of a value."""
    k = between(rng, -30, 150)
    inputs = [(mixed_with(rng, [k, k], count=2, low=k - 9, high=k + 9),)]
    inputs += [(mixed_with(rng, [k, k, -k], count=4, low=k - 9, high=k + 9),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("remove_value", "drop_all", "without_value")),
        arguments="nums",
        task=f"remove every {k} from a list",
        body=f"return [x for x in nums if x != {k}]",
        reference=lambda nums: [x for x in nums if x != k],
        inputs=[*inputs, ([],)],
    )


def shift_each(rng: np.random.Generator) -> Draft:
    """Add a constant to each element."""
    k = between(rng, 2, 250)
    inputs = [(integers(rng, 3),)] + [(integers(rng, between(rng, 1, 6)),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("shift_each", "add_to_all", "raise_by")),
        arguments="nums",
        task=f"add {k} to each number of a list",
        body=f"return [x + {k} for x in nums]",
        reference=lambda nums: [x + k for x in nums],
        inputs=[*inputs, ([],)],
    )


def scale_each(rng: np.random.Generator) -> Draft:
    """Linear map over a list."""
    a, b = between(rng, 2, 20), between(rng, 1, 40)
    inputs = [(integers(rng, 3),)] + [(integers(rng, between(rng, 1, 6)),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("scale_each", "transform", "stretch")),
        arguments="nums",
        task=f"multiply each number of a list by {a} and then subtract {b}",
        body=f"return [x * {a} - {b} for x in nums]",
        reference=lambda nums: [a * x - b for x in nums],
        inputs=[*inputs, ([],)],
    )


def every_nth(rng: np.random.Generator) -> Draft:
    """Slice with start and step."""
    start, step = between(rng, 1, 12), between(rng, 2, 12)
    inputs = [(integers(rng, start + step + 1, 0, 9),)]
    inputs += [(integers(rng, start + between(rng, 0, 3 * step), 0, 99),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("every_nth", "take_steps")),
        arguments="items",
        task=f"take every item number {step} of a list, beginning at index {start}",
        body=f"return items[{start}::{step}]",
        reference=lambda items: [items[i] for i in range(start, len(items), step)],
        inputs=[*inputs, ([],)],
    )


def sum_above(rng: np.random.Generator) -> Draft:
    """Sum under a condition."""
    k = between(rng, -20, 180)
    return problem(
        name=pick(rng, ("sum_above", "total_over")),
        arguments="nums",
        task=f"add up the numbers of a list that are at least {k}",
        body=f"return sum(x for x in nums if x >= {k})",
        reference=lambda nums: sum(x for x in nums if not x < k),
        inputs=_around(rng, k),
    )


def swap_value(rng: np.random.Generator) -> Draft:
    """Replace one value by another."""
    a, b = pick_some(rng, [str(i) for i in range(1, 40)], 2)
    old, new = int(a), int(b)
    inputs = [(mixed_with(rng, [old], count=3, low=1, high=40),)]
    inputs += [(mixed_with(rng, [old, new, old], count=3, low=1, high=40),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("swap_value", "replace_all")),
        arguments="nums",
        task=f"replace every {old} in a list by {new}",
        body=f"return [{new} if x == {old} else x for x in nums]",
        reference=lambda nums: [new if x == old else x for x in nums],
        inputs=[*inputs, ([],)],
    )


def position_of(rng: np.random.Generator) -> Draft:
    """Index of a value, with a default."""
    k, absent = between(rng, 10, 120), between(rng, -3, -1)
    inputs = [(mixed_with(rng, [k], count=3, low=0, high=9),), (integers(rng, 4, 0, 9),)]
    inputs += [(mixed_with(rng, [k, k], count=3, low=0, high=9),) for _ in range(_HIDDEN - 2)]
    return problem(
        name=pick(rng, ("position_of", "find_index")),
        arguments="nums",
        task=f"find the first index of {k} in a list, or {absent} if it is missing",
        body=f"return nums.index({k}) if {k} in nums else {absent}",
        reference=lambda nums: next((i for i, x in enumerate(nums) if x == k), absent),
        inputs=[*inputs, ([],)],
    )


def count_between(rng: np.random.Generator) -> Draft:
    """Count within bounds."""
    low = between(rng, -20, 60)
    high = low + between(rng, 4, 40)
    return problem(
        name=pick(rng, ("count_between", "in_range")),
        arguments="nums",
        task=f"count the numbers of a list from {low} to {high}, both included",
        body=f"return sum({low} <= x <= {high} for x in nums)",
        reference=lambda nums: len([x for x in nums if low <= x <= high]),
        inputs=_around(rng, low, high),
    )


def largest_below(rng: np.random.Generator) -> Draft:
    """Maximum under a condition, with a default."""
    k, missing = between(rng, 5, 120), between(rng, -2, 0)
    return problem(
        name=pick(rng, ("largest_below", "best_under")),
        arguments="nums",
        task=f"find the largest number of a list that is below {k}, or {missing} if there is none",
        body=f"return max([x for x in nums if x < {k}], default={missing})",
        reference=lambda nums: sorted(x for x in nums if x < k)[-1] if any(x < k for x in nums) else missing,
        inputs=[*_around(rng, k), ([k, k + 1],)],
    )


def _stock(rng: np.random.Generator, k: int, size: int) -> dict[str, int]:
    values = mixed_with(rng, [k, k + 1], count=size - 2, low=max(0, k - 9), high=k + 9)
    return dict(zip(pick_some(rng, _WORDS, size), values, strict=True))


def keys_above(rng: np.random.Generator) -> Draft:
    """Dictionary keys by value."""
    k = between(rng, 2, 200)
    inputs = [(_stock(rng, k, 3),)] + [(_stock(rng, k, between(rng, 3, 6)),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("keys_above", "well_stocked")),
        arguments="d",
        task=f"list the keys of a dictionary whose value is greater than {k}",
        body=f"return [key for key in d if d[key] > {k}]",
        reference=lambda d: [key for key, value in d.items() if value > k],
        inputs=[*inputs, ({},)],
    )


def bump_values(rng: np.random.Generator) -> Draft:
    """Map over a dictionary's values."""
    k = between(rng, 2, 200)
    inputs = [(_stock(rng, 9, 2),)] + [(_stock(rng, 9, between(rng, 2, 5)),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("bump_values", "increase_all")),
        arguments="d",
        task=f"add {k} to every value of a dictionary",
        body=f"return {{key: d[key] + {k} for key in d}}",
        reference=lambda d: {key: value + k for key, value in d.items()},
        inputs=[*inputs, ({},)],
    )


def square_above(rng: np.random.Generator) -> Draft:
    """Filter, then map."""
    k = between(rng, 3, 120)
    return problem(
        name=pick(rng, ("square_above", "squares_over")),
        arguments="nums",
        task=f"return the squares of the numbers of a list that are greater than {k}",
        body=f"return [x * x for x in nums if x > {k}]",
        reference=lambda nums: [x**2 for x in nums if x > k],
        inputs=_around(rng, k),
    )


def sum_values_below(rng: np.random.Generator) -> Draft:
    """Sum a dictionary's values under a condition."""
    k = between(rng, 3, 200)
    inputs = [(_stock(rng, k, 3),)] + [(_stock(rng, k, between(rng, 3, 6)),) for _ in range(_HIDDEN - 1)]
    return problem(
        name=pick(rng, ("sum_values_below", "small_total")),
        arguments="d",
        task=f"add up the values of a dictionary that are smaller than {k}",
        body=f"return sum(v for v in d.values() if v < {k})",
        reference=lambda d: sum(d[key] for key in d if d[key] < k),
        inputs=[*inputs, ({},)],
    )


LIST_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            keep_greater,
            count_multiples,
            remove_value,
            shift_each,
            scale_each,
            every_nth,
            sum_above,
            swap_value,
            position_of,
            count_between,
            largest_below,
            keys_above,
            bump_values,
        )
    ),
    *templates_of((square_above, sum_values_below), held_out=True),
)
