"""Where the tensors of a checkpoint lie in the model that transformers builds.

Most are a parameter of the same name. Mixtures of experts may be stored expert by expert, while the model holds all
experts of a layer in one tensor (e, m, n): then a stored matrix is a slice of a parameter. The files' names are the
ones that task vectors, merges and exports use, so each expert's matrices are matrices like all others.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import torch

from cycleqd.task_vector.rows import split

Index = tuple[int | slice, ...]
Shapes = Mapping[str, Sequence[int]]

_ONE_EXPERT: Final = re.compile(r"\.experts\.\d+\.")
_KEPT: Final = 2
"""Fused tensors in memory while their slices are read: names in order go back and forth between so many."""


class Place(NamedTuple):
    """Where a stored tensor lies.

    Attributes:
        parameter: The model's name of the parameter.
        part: Which part of it; empty for all of it.
    """

    parameter: str
    part: Index = ()


class Layout(NamedTuple):
    """How a model's parameters are stored.

    Attributes:
        places: By the stored tensor's name. Tensors whose place is not known are left out.
        shapes: Of all parameters, by the model's names.
        turned: Stacks of matrices that are (e, inputs, outputs), by the model's names.
    """

    places: Mapping[str, Place]
    shapes: Mapping[str, tuple[int, ...]]
    turned: frozenset[str] = frozenset()

    def stored(self, parameter: str) -> list[tuple[str, Index]]:
        """What holds a parameter: the stored tensors' names, each with the part that it is."""
        return [(name, place.part) for name, place in self.places.items() if place.parameter == parameter]


class _Source(Protocol):
    """A `cycleqd.task_vector.TensorSource`."""

    def names(self) -> Sequence[str]: ...

    def shape(self, name: str) -> Sequence[int]: ...

    def tensor(self, name: str) -> torch.Tensor: ...

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]: ...


def is_one_expert(name: str) -> bool:
    """Whether a stored tensor is of a single expert of a mixture, by its name."""
    return bool(_ONE_EXPERT.search(name))


def empty_model(path: Path) -> Any:
    """The causal language model of a folder, without memory for its weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def layout_of(model: torch.nn.Module, shapes: Shapes) -> Layout:
    """How a model is stored in files with these tensors."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    known = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    turned = frozenset(
        f"{path}.{name}"
        for path, module in model.named_modules()
        if getattr(module, "is_transposed", False)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    )
    return Layout(_places(model, known, shapes), known, turned)


def as_stored(model: torch.nn.Module, shapes: Shapes) -> dict[str, torch.Tensor]:
    """A model's parameters by the names of the files that hold these tensors.

    Where files hold a parameter in parts, views of it stand for the parts: writing to them writes to the model. What
    the files do not hold keeps the model's own name.
    """
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    if parameters.keys() >= shapes.keys():
        return parameters
    whole = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    found = dict(parameters)
    for name, (parameter, index) in _places(model, whole, shapes).items():
        if index:
            found[name] = parameters[parameter].detach()[index]
            found.pop(parameter, None)
        else:
            found[name] = parameters[parameter]
    return found


def arranged(source: _Source, base: _Source, layout: Callable[[], Layout], model: Callable[[], Any]) -> _Source:
    """Another checkpoint of the same model, with its experts stored as the base's are.

    Args:
        source: The checkpoint.
        base: The base's tensors.
        layout: How the base is stored; asked for where the names differ.
        model: The base's `empty_model`; likewise.
    """
    theirs, ours = set(source.names()), set(base.names())
    if not any("experts" in name.split(".") for name in theirs ^ ours):
        return source
    parameters = layout().shapes
    places = _places(model(), parameters, {name: source.shape(name) for name in source.names()})
    held: dict[str, list[tuple[str, Index]]] = defaultdict(list)
    for name, place in places.items():
        if name not in ours:
            held[place.parameter].append((name, place.part))
    wanted = {n: p for n, p in layout().places.items() if n not in theirs and p.parameter in held}
    return _Arranged(source, held, wanted, parameters) if wanted else source


class _Arranged:
    """A checkpoint's tensors, some of them cut out of, or put together from, what it holds."""

    def __init__(
        self,
        source: _Source,
        held: Mapping[str, Sequence[tuple[str, Index]]],
        wanted: Mapping[str, Place],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._source, self._held, self._wanted, self._shapes = source, held, wanted, shapes
        used = {place.parameter for place in wanted.values()}
        gone = {name for parameter in used for name, _ in held[parameter]}
        self._names = tuple(sorted({*source.names()} - gone | wanted.keys()))
        self._kept: dict[str, torch.Tensor] = {}

    def names(self) -> tuple[str, ...]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._wanted:
            return tuple(self._source.shape(name))
        parameter, index = self._wanted[name]
        return tuple(torch.empty(self._shapes[parameter], device="meta")[index].shape)

    def tensor(self, name: str) -> torch.Tensor:
        if name not in self._wanted:
            return self._source.tensor(name)
        parameter, index = self._wanted[name]
        held = self._held[parameter]
        same = next((one for one, part in held if part == index), None)
        return self._source.tensor(same) if same is not None else self._whole(parameter)[index].clone()

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        return self._source.blocks(name, rows) if name not in self._wanted else split(self.tensor(name), rows)

    def _whole(self, parameter: str) -> torch.Tensor:
        if parameter not in self._kept:
            if len(self._kept) == _KEPT:
                self._kept.pop(next(iter(self._kept)))
            tensor = torch.empty(self._shapes[parameter])
            for name, index in self._held[parameter]:
                tensor[index] = self._source.tensor(name)
            self._kept[parameter] = tensor
        return self._kept[parameter]


def _places(model: torch.nn.Module, parameters: Mapping[str, tuple[int, ...]], shapes: Shapes) -> dict[str, Place]:
    found = {name: Place(name) for name in shapes if name in parameters}
    others = {name: tuple(shape) for name, shape in shapes.items() if name not in parameters}
    return found | _converted(model, parameters, others) if others else found


def _converted(
    model: torch.nn.Module, parameters: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Place]:
    """Places of tensors that transformers stores under other names than the model's, by its own table of them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    steps: list[Any] = get_model_conversion_mapping(model, add_legacy=False)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    found: dict[str, Place] = {}
    parts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(shapes, key=dot_natural_key):
        parameter, pattern = rename_source_key(name, renamings, converters)
        if parameter in parameters and pattern is None:
            found[name] = Place(parameter)
        elif parameter in parameters:
            parts[parameter][pattern].append(name)
    for parameter, by_pattern in parts.items():
        converter = next(one for one in converters if set(by_pattern) <= set(one.source_patterns))
        slices = _slices(converter, by_pattern, shapes)
        if _covers(parameters[parameter], {name: (shapes[name], index) for name, index in slices.items()}):
            found |= {name: Place(parameter, index) for name, index in slices.items()}
    return found


def _slices(converter: Any, names: Mapping[str, Sequence[str]], shapes: Shapes) -> dict[str, Index]:
    """Each expert's part of a fused parameter; nothing where files and model differ by more than stacking."""
    from transformers.core_model_loading import Concatenate, MergeModulelist

    stacking, *rest = converter.operations
    joined = [step for step in rest if isinstance(step, Concatenate) and step.dim == 1]
    if not isinstance(stacking, MergeModulelist) or stacking.dim != 0 or len(joined) != len(rest) or len(rest) > 1:
        return {}
    found: dict[str, Index] = {}
    first = 0
    for pattern in converter.source_patterns:
        matrices = names.get(pattern, ())
        rows = shapes[matrices[0]][0] if matrices else 0
        for expert, name in enumerate(matrices):
            found[name] = (expert, slice(first, first + rows)) if joined else (expert,)
        first += rows
    return found


def _covers(shape: tuple[int, ...], parts: Mapping[str, tuple[Sequence[int], Index]]) -> bool:
    """Whether parts are all of a parameter, each of the shape of its place."""
    if len(shape) != 3 or not parts or any(index[0] not in range(shape[0]) for _, index in parts.values()):
        return False
    whole = torch.empty(shape, device="meta")
    fits = all(tuple(whole[index].shape) == tuple(size) for size, index in parts.values())
    return fits and sum(math.prod(size) for size, _ in parts.values()) == math.prod(shape)
