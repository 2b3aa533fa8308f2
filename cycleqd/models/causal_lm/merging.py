"""Base plus task vector as a stream of parameters in the engine's dtype."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.task_vector import TaskVector

_CPU = torch.device("cpu")
_SKETCH_SIZE = 256
"""Sampled values a parameter. Enough to tell two children apart, small enough to keep for the loaded one."""


class MergedWeights:
    """Yields every parameter of base + task vector once, and notes what it saw on the way.

    The sum is formed in fp32 and rounded once; only one parameter is held at a time.

    Args:
        base: The base's weights; never written.
        task_vector: Deltas by the base's parameter names; None for the base itself.
        dtype: The dtype to round to.
        device: Where the sum is formed, and where the parameters then lie. At Llama-3-8B's shapes a GPU takes seconds
            for what 2 threads of a CPU took 42 s.

    Attributes:
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
        self._dtype = dtype
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

    def _merge(self, name: str) -> torch.Tensor:
        if self._task_vector is None or name not in self._named:
            return self._own(name, self._dtype)
        delta = self._task_vector.delta(name, self._device)
        if tuple(delta.shape) != self._base.shape(name):
            raise ValueError(
                f"the task vector's delta for {name} has shape {tuple(delta.shape)}, the base's parameter "
                f"{self._base.shape(name)}: it was made from another base model"
            )
        merged = self._own(name, torch.float32).add_(delta).to(self._dtype)
        if not self.changed:
            self.changed = not torch.equal(merged, self._own(name, self._dtype))
        return merged

    def _own(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """A copy of the base's parameter; it travels in the dtype in which it is stored."""
        if self._device == _CPU:
            return self._base.tensor(name, dtype)
        return self._base.tensor(name).to(self._device).to(dtype)
