"""The learning rate of a training, as a factor of its peak, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable


def warmup_then_cosine(steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """A linear warm-up to 1, then half a cosine down to zero.

    Args:
        steps: Optimizer steps, at least 1.
        warmup_fraction: Share of the steps in which the factor rises, in [0, 1).

    Returns:
        The factor, in (0, 1], of a step's number from 0 on; 0 after the last step.
    """
    warmup = round(steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor
