"""Random generators named by what they are for: a retried step repeats itself, no step disturbs another's draws."""

from __future__ import annotations

import hashlib

import numpy as np


def rng(seed: int, generation: int, purpose: str) -> np.random.Generator:
    """A generator that depends on its arguments alone, in every process and on every machine.

    Args:
        seed: The run's seed, at least 0.
        generation: The generation that draws, at least 0.
        purpose: What the draws are for, e.g. ``crossover``. Different purposes give independent streams.

    Returns:
        A fresh generator at the start of its stream.

    Raises:
        ValueError: `seed` or `generation` is negative.
    """
    if seed < 0 or generation < 0:
        raise ValueError(f"seed and generation must be at least 0, got {seed} and {generation}")
    # Python's own hash() of a string differs between processes.
    stable = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, generation, stable])


def parameter_rng(seed: int, name: str) -> np.random.Generator:
    """The stream of one parameter within one operator's draw, independent of the other parameters and their order.

    Args:
        seed: The operator's draw, at least 0.
        name: The parameter's name.
    """
    return rng(seed, 0, f"parameter {name}")
