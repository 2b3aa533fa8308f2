"""Base plus task vector as a stream of parameters in the engine's dtype."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.task_vector import TaskVector
from cycleqd.task_vector.rows import fits_a_block, joined, rows_at_a_time

_CPU = torch.device("cpu")
_SKETCH_SIZE = 256
"""Sampled values a parameter. Enough to tell two children apart, small enough to keep for the loaded one."""


class MergedWeights:
    """Yields every parameter of base + task vector once, and notes what it saw on the way.

    The sum is formed in fp32 and rounded once. Held at a time is one rounded parameter, and a block of its rows in
    fp32.

    Args:
        base: The base's weights; never written.
        task_vector: Deltas by the base's parameter names; None for the base itself.
        dtype: The dtype to round to.
        device: Where the sum is formed, and where the parameters then lie. At Llama-3-8B's shapes a GPU takes seconds
            for what 2 threads of a CPU took 42 s.

    Attributes:
        dtype: The dtype that it rounds to.
        changed: After iterating: whether any rounded parameter differs from the base's.
        sketch: After iterating: a fixed sample of all rounded parameters, to compare two merges by.

    Raises:
        ValueError: The task vector names a parameter that the base does not have, or has in another shape
            (the latter while iterating).
    """

    def __init__(
        self,
        base: BaseWeights,
        task_vector: TaskVector | None,
        dtype: torch.dtype,
        device: torch.device = _CPU,
    ) -> None:
        self._base = base
        self._device = device
        self._task_vector = task_vector
        self.dtype = dtype
        self._named = frozenset(task_vector.names()) if task_vector is not None else frozenset()
        if unknown := sorted(self._named - set(base.names())):
            raise ValueError(
                f"the task vector changes {unknown[0]} ({len(unknown)} such), which {base.path} does not have: "
                "it was made from another base model"
            )
        self.changed = False
        self.sketch = torch.empty(0)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.changed = False
        samples: list[torch.Tensor] = []
        for name in self._base.names():
            merged = self._merge(name)
            flat = merged.flatten()
            samples.append(flat[:: max(1, flat.numel() // _SKETCH_SIZE)].float().cpu())
            yield name, merged
        self.sketch = torch.cat(samples)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters' shapes, by name."""
        return {name: self._base.shape(name) for name in self._base.names()}

    def blocks(self, name: str) -> Iterator[torch.Tensor]:
        """One rounded parameter in consecutive rows, for whoever needs no whole parameter; notes `changed` alone."""
        shape = self._base.shape(name)
        rows = rows_at_a_time(shape)
        if self._task_vector is None or name not in self._named:
            yield from self._base.blocks(name, rows, self.dtype)
            return
        self._check_shape(name, self._task_vector)
        sums = zip(self._base.blocks(name, rows, torch.float32), self._task_vector.blocks(name, rows), strict=True)
        plain = self._base.blocks(name, rows, self.dtype)
        for own, delta in sums:
            merged = own.add_(delta).to(self.dtype)
            if not self.changed:
                self.changed = not torch.equal(merged, next(plain))
            yield merged

    def _merge(self, name: str) -> torch.Tensor:
        if self._device != _CPU:
            return self._there(name)
        shape = self._base.shape(name)
        if fits_a_block(shape, rows_at_a_time(shape)):
            return next(self.blocks(name))
        return joined(self.blocks(name), shape, self.dtype)

    def _there(self, name: str) -> torch.Tensor:
        """One rounded parameter, summed on the device, where a whole one fits; the base's travels as it is stored."""
        own = self._base.tensor(name).to(self._device)
        if self._task_vector is None or name not in self._named:
            return own.to(self.dtype)
        self._check_shape(name, self._task_vector)
        merged = (own.float() + self._task_vector.delta(name, self._device)).to(self.dtype)
        self.changed = self.changed or not torch.equal(merged, own.to(self.dtype))
        return merged

    def _check_shape(self, name: str, vector: TaskVector) -> None:
        given, shape = vector.shape(name), self._base.shape(name)
        if given != shape:
            raise ValueError(
                f"the task vector's delta for {name} has shape {given}, the base's parameter {shape}: "
                "it was made from another base model"
            )
