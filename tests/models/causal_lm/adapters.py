"""Task vectors that are LoRA adapters, for tiny models."""

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.task_vector import TaskVector, build_bases, weighted_sum

LAYERS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


def factored(base, seed, *, rank=4, scale=0.3) -> TaskVector:
    """The sum of two random experts, of twice their rank where a matrix has as much."""
    weights = BaseWeights(base)
    names = [name for name in weights.names() if name.removesuffix(".weight").endswith(LAYERS)]
    factors = {}
    for expert in range(2):
        generator = torch.Generator().manual_seed(seed * 1000 + expert)
        factors[f"expert{expert}"] = {
            name: (
                torch.randn(rank, weights.shape(name)[1], generator=generator) * scale,
                torch.randn(weights.shape(name)[0], rank, generator=generator) * scale,
                1.0,
            )
            for name in names
        }
    experts = build_bases(factors)[1]
    first, second = experts.values()
    return weighted_sum([1.0, 0.5], [first, second])
