"""Which matrices a parameter holds: itself, or each slice of a stack. Whatever works on matrices asks here.

A mixture of experts may keep one tensor (e, m, n) for all experts of a layer. Each slice is a linear layer of its own,
so each is decomposed, stretched, trimmed and merged alone, as if it were stored alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch


def is_stack(shape: Sequence[int]) -> bool:
    """Whether a parameter is a stack of matrices (e, m, n), all of e, m and n above 1.

    Three dimensions with a 1 among them are something else: kernels of depthwise convolutions (c, 1, k), or vectors
    that are added to every sequence (1, positions, n).
    """
    return len(shape) == 3 and min(shape) > 1


def matrix_names(name: str, shape: Sequence[int]) -> tuple[str, ...]:
    """The matrices that a parameter holds: itself, or ``name[0]``, ``name[1]`` and so on of a stack, or none."""
    if is_stack(shape):
        return tuple(f"{name}[{index}]" for index in range(shape[0]))
    return (name,) if len(shape) == 2 else ()


def by_slice(rule: Callable[..., torch.Tensor], name: str, *tensors: torch.Tensor) -> torch.Tensor:
    """Applies a rule to a parameter, or to each matrix of a stack.

    Args:
        rule: (name, the same piece of each of the tensors) -> the new piece, of the same shape.
        name: The parameter's; a stack's matrices are named as `matrix_names` does.
        tensors: At least one, all of the parameter's shape.
    """
    shape = tensors[0].shape
    if not is_stack(shape):
        return rule(name, *tensors)
    pieces = zip(matrix_names(name, shape), *tensors, strict=True)
    return torch.stack([rule(one, *matrices) for one, *matrices in pieces])


def in_slices(
    rule: Callable[..., torch.Tensor], name: str, shape: Sequence[int], *stacks: Iterable[torch.Tensor]
) -> Iterator[torch.Tensor]:
    """As `by_slice`, for stacks that come a few matrices at a time; gives as many at a time.

    Args:
        rule: As there.
        name: The parameter's.
        shape: The whole stack's, (e, m, n).
        *stacks: At least one; each gives consecutive matrices of shape (some, m, n), all as many at a time.
    """
    names = iter(matrix_names(name, shape))
    for parts in zip(*stacks, strict=True):
        pieces = torch.empty_like(parts[0])
        for place, matrices in enumerate(zip(*parts, strict=True)):
            pieces[place] = rule(next(names), *matrices)
        yield pieces
