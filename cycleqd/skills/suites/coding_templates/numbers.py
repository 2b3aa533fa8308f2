"""Coding problems about single numbers."""

from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.coding_templates.problem import problem
from cycleqd.skills.suites.generation import Draft, Template, between, pick, templates_of


def _numbers(rng: np.random.Generator, low: int, high: int, *edges: int) -> list[tuple[int]]:
    """One-argument inputs: a random number first, then the edges and more random ones."""
    return [(n,) for n in (between(rng, low, high), *edges, *(between(rng, low, high) for _ in range(4)))]


def divisible_by_both(rng: np.random.Generator) -> Draft:
    """Test two divisors."""
    a, b = between(rng, 2, 12), between(rng, 13, 30)
    return problem(
        name=pick(rng, ("divisible_by_both", "common_multiple")),
        arguments="n",
        task=f"check whether a number is divisible by both {a} and {b}",
        body=f"return n % {a} == 0 and n % {b} == 0",
        reference=lambda n: not n % a and not n % b,
        inputs=[(a * b * between(rng, 1, 4),), *_numbers(rng, 1, 400, a, b, 0, a * b)],
    )


def linear(rng: np.random.Generator) -> Draft:
    """A linear formula of two numbers."""
    a, b = between(rng, 2, 30), between(rng, 2, 30)
    inputs = [(between(rng, 1, 9), between(rng, 1, 9)) for _ in range(5)]
    return problem(
        name=pick(rng, ("linear", "combine", "total_price")),
        arguments="x, y",
        task=f"compute {a} times the first number plus {b} times the second",
        body=f"return {a} * x + {b} * y",
        reference=lambda x, y: a * x + b * y,
        inputs=[*inputs, (0, 7), (-3, 0)],
    )


def power_modulo(rng: np.random.Generator) -> Draft:
    """A power and a remainder."""
    a, b = between(rng, 2, 6), between(rng, 5, 60)
    return problem(
        name=pick(rng, ("power_modulo", "power_rest")),
        arguments="n",
        task=f"raise a number to the power of {a} and return the remainder of dividing by {b}",
        body=f"return n ** {a} % {b}",
        reference=lambda n: pow(n, a, b),
        inputs=_numbers(rng, 2, 40, 0, 1, b),
    )


def even_or_odd(rng: np.random.Generator) -> Draft:
    """A case distinction by parity."""
    a, b = between(rng, 2, 30), between(rng, 2, 30)
    return problem(
        name=pick(rng, ("even_or_odd", "step")),
        arguments="n",
        task=f"add {a} to a number if it is even and subtract {b} if it is odd",
        body=f"return n + {a} if n % 2 == 0 else n - {b}",
        reference=lambda n: n - b if n % 2 else n + a,
        inputs=_numbers(rng, 2, 90, 0, 1, 7, 10),
    )


def sign_around(rng: np.random.Generator) -> Draft:
    """A label by threshold."""
    k = between(rng, -20, 200)
    a, b = pick(rng, (("low", "high"), ("cold", "warm"), ("small", "big"), ("fail", "pass")))
    return problem(
        name=pick(rng, ("label", "grade", "classify")),
        arguments="n",
        task=f"return '{b}' if a number is at least {k} and '{a}' otherwise",
        body=f"return '{b}' if n >= {k} else '{a}'",
        reference=lambda n: a if n < k else b,
        inputs=_numbers(rng, k - 20, k + 20, k, k - 1, k + 1),
    )


def discount(rng: np.random.Generator) -> Draft:
    """A piecewise price."""
    k, off = between(rng, 20, 120), between(rng, 3, 15)
    return problem(
        name=pick(rng, ("discount", "final_price")),
        arguments="price",
        task=f"subtract {off} from a price if it is greater than {k}",
        body=f"return price - {off} if price > {k} else price",
        reference=lambda price: price - off * (price > k),
        inputs=_numbers(rng, k - 15, k + 40, k, k + 1, k - 1),
    )


def digit_sum_times(rng: np.random.Generator) -> Draft:
    """Sum of digits, scaled."""
    k = between(rng, 2, 90)
    return problem(
        name=pick(rng, ("digit_sum_times", "digit_score")),
        arguments="n",
        task=f"multiply the sum of the digits of a number by {k}",
        body=f"return sum(int(c) for c in str(n)) * {k}",
        reference=lambda n: k * sum(n // 10**i % 10 for i in range(6)),
        inputs=_numbers(rng, 11, 9999, 0, 9, 100),
    )


def divisible_or(rng: np.random.Generator) -> Draft:
    """A case distinction by divisibility."""
    a, b = between(rng, 3, 25), between(rng, 2, 30)
    return problem(
        name=pick(rng, ("divisible_or", "adjust")),
        arguments="n",
        task=f"divide a number by {a} without remainder if it is divisible by {a}, and add {b} otherwise",
        body=f"return n // {a} if n % {a} == 0 else n + {b}",
        reference=lambda n: n + b if n % a else n // a,
        inputs=[(a * between(rng, 2, 9),), *_numbers(rng, 1, 99, a, 0, a + 1)],
    )


def square_plus(rng: np.random.Generator) -> Draft:
    """A quadratic formula."""
    a, b = between(rng, 2, 30), between(rng, 2, 60)
    return problem(
        name=pick(rng, ("square_plus", "formula")),
        arguments="n",
        task=f"multiply the square of a number by {a} and add {b}",
        body=f"return {a} * n ** 2 + {b}",
        reference=lambda n: b + n * n * a,
        inputs=_numbers(rng, 2, 20, 0, 1, -3),
    )


NUMBER_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            divisible_by_both,
            linear,
            power_modulo,
            even_or_odd,
            sign_around,
            discount,
            digit_sum_times,
        )
    ),
    *templates_of((divisible_or, square_plus), held_out=True),
)
