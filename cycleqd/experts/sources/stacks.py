"""LoRA of stacks of matrices: peft's `target_parameters` on the experts of a mixture.

peft keeps the factors of all e matrices of a stack in one pair: A (r · e, n), the rows of one matrix together, and
B (m, r · e), the columns of all matrices taking turns. Several stacks of a module nest, as ``base_layer`` in the names
of the file, which do not say which is which; their shapes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from cycleqd.model_layout import Layout
from cycleqd.task_vector import LoraFactors
from cycleqd.task_vector.adapter_files import scale_of

NESTED: Final = ".base_layer"
Shape = tuple[int, ...]


def adapted_parameter(layout: Layout, config: Mapping[str, Any], module: str, a: Shape, b: Shape) -> str:
    """The model's name of the stack that a pair of factors adapts.

    Args:
        layout: The base's.
        config: The adapter's configuration.
        module: Where the factors are, as in the adapter's names.
        a: Shape of A.
        b: Shape of B.

    Raises:
        ValueError: There is no such stack, or several fit.
    """
    path = module.replace(NESTED, "")
    found = [
        name
        for name, shape in layout.shapes.items()
        if _ends(name.rpartition(".")[0], path)
        and is_targeted(config, name)
        and _fits(shape, name in layout.turned, a, b)
    ]
    if len(found) != 1:
        known = ", ".join(found) or "none"
        raise ValueError(
            f"{module}: factors of shapes {a} and {b} are of no one stack of matrices there ({known} fits)"
        )
    return found[0]


def stack_factors(
    layout: Layout, config: Mapping[str, Any], module: str, a: torch.Tensor, b: torch.Tensor
) -> tuple[dict[str, LoraFactors], dict[str, torch.Tensor]]:
    """The change of a stack, as the base stores it.

    Args:
        layout: The base's.
        config: The adapter's configuration.
        module: Where the factors are, as in the adapter's names.
        a: Factor of shape (r · e, n).
        b: Factor of shape (m, r · e).

    Returns:
        By the names of the base's files the factors of matrices that are stored one by one, and the dense delta of a
        stack that is stored whole.

    Raises:
        ValueError: As `adapted_parameter`, or the scale is not known.
    """
    parameter = adapted_parameter(layout, config, module, tuple(a.shape), tuple(b.shape))
    experts = layout.shapes[parameter][0]
    rank = a.shape[0] // experts
    scale = scale_of(config, parameter, rank)
    right = a.reshape(experts, rank, -1)
    left = b.reshape(len(b), rank, experts).permute(2, 0, 1)
    factors: dict[str, LoraFactors] = {}
    for name, index in layout.stored(parameter):
        if not index:
            delta = scale * (left.float() @ right.float())
            return {}, {name: delta.mT.contiguous() if parameter in layout.turned else delta}
        expert, *rows = index
        factors[name] = LoraFactors(right[expert], left[(expert, *rows)].contiguous(), scale)
    return factors, {}


def is_targeted(config: Mapping[str, Any], parameter: str) -> bool:
    """Whether peft adapts a parameter by itself, rather than the layer that it is of; patterns then name it, too."""
    return any(_ends(parameter, target) for target in config.get("target_parameters") or ())


def _ends(name: str, end: str) -> bool:
    """Whether a dotted name is another one or ends with it; prefixes differ with the class that was trained."""
    return name == end or name.endswith(f".{end}") or end.endswith(f".{name}")


def _fits(shape: Shape, turned: bool, a: Shape, b: Shape) -> bool:
    if len(shape) != 3 or len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] % shape[0]:
        return False
    rows, columns = shape[:0:-1] if turned else shape[1:]
    return (rows, columns) == (b[0], a[1])
