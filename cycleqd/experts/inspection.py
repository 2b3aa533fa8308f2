"""What an adapter or a checkpoint is, how far it is from its base, and how alike several are."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.checkpoint import CONFIG_FILE, BaseModelInvalid
from cycleqd.experts.sources import Found, SourceInvalid, SourceUnavailable, TaskVectors, Update, find, task_vectors
from cycleqd.experts.sources.adapter import CONFIG as ADAPTER_CONFIG
from cycleqd.experts.sources.location import hash_of
from cycleqd.experts.sources.tensors import read_json
from cycleqd.packed_models import BaseModelUnavailable
from cycleqd.task_vector import FactoredTaskVector, TaskVector, adapter_base

_LAYER: Final = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
_ADAPTER_FACTS: Final = (
    *("base_model_name_or_path", "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora"),
    *("use_dora", "init_lora_weights", "modules_to_save", "bias", "peft_type", "peft_version"),
)
_CHECKPOINT_FACTS: Final = (
    *("architectures", "model_type", "hidden_size", "num_hidden_layers", "vocab_size", "dtype", "torch_dtype"),
    *("tie_word_embeddings", "quantization_config"),
)


class Layer(NamedTuple):
    """The task vector in one layer.

    Attributes:
        name: Its number, or the parameter's name outside the layers.
        norm: Frobenius norm of all its deltas.
        of_base: `norm` as a share of the base's norm there.
    """

    name: str
    norm: float
    of_base: float


class Inspected(NamedTuple):
    """One model.

    Attributes:
        given: As the user named it.
        kind: ``adapter`` or ``checkpoint``; empty where it is neither, or cannot be had, as `fault` says.
        hash: SHA-256 over its files.
        facts: What its configuration says.
        base: The base that it was compared with, as named; empty where none is known.
        fault: Why it cannot be an expert of that base; empty where it can.
        form: ``factored`` or ``dense``; empty where there is no task vector.
        parameters: How many parameters it changes.
        norm: Frobenius norm of the task vector.
        of_base: `norm` as a share of the base's norm over the same parameters.
        layers: The same by layer.
        notes: What was noticed when it was read.
    """

    given: str
    kind: str
    hash: str
    facts: dict[str, Any]
    base: str = ""
    fault: str = ""
    form: str = ""
    parameters: int = 0
    norm: float = 0.0
    of_base: float = 0.0
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()


class Likeness(NamedTuple):
    """How alike two models are: the cosine between their task vectors, in [-1, 1]."""

    first: str
    second: str
    cosine: float


class Inspection(NamedTuple):
    """All models that were asked about, and each pair of those that have a task vector."""

    models: tuple[Inspected, ...]
    likenesses: tuple[Likeness, ...]


def inspect_models(given: Sequence[str], cache: Path, *, base: str | None = None) -> Inspection:
    """Looks at adapters and checkpoints.

    Args:
        given: Folders or hub ids (``owner/name@revision``).
        cache: Where downloads are kept.
        base: Their base model; unless given, the one that an adapter names.

    Returns:
        All of them. One that cannot be compared with its base has its fault, and one that is neither, or cannot be
        had, has nothing else.
    """
    bases: dict[str, BaseWeights] = {}
    models: list[Inspected] = []
    updates: dict[int, tuple[str, Update]] = {}
    for number, one in enumerate(given):
        try:
            place = find(one, cache)
            model = Inspected(place.given, place.kind, hash_of(place.files()), _facts(place))
        except (SourceInvalid, SourceUnavailable, OSError) as error:
            models.append(Inspected(one, "", "", {}, fault=str(error)))
            continue
        named = base or _named_base(place)
        if not named:
            models.append(model._replace(fault="no base is known: name it with --base"))
            continue
        try:
            if named not in bases:
                bases[named] = BaseWeights(resolve_base(named, cache))
            source = place.open()
            update = source.update(bases[named])
            source.check_values()
            form = task_vectors({"it": update})
        except (SourceInvalid, BaseModelInvalid, BaseModelUnavailable) as error:
            models.append(model._replace(base=named, fault=str(error)))
            continue
        updates[number] = (named, update)
        models.append(_measured(model, named, update, form, bases[named]))
    return Inspection(tuple(models), tuple(_likenesses(models, updates)))


def _facts(place: Found) -> dict[str, Any]:
    file, keys = (ADAPTER_CONFIG, _ADAPTER_FACTS) if place.kind == "adapter" else (CONFIG_FILE, _CHECKPOINT_FACTS)
    config = read_json(place.folder / file)
    if isinstance(config.get("text_config"), dict):
        config = config["text_config"] | {key: config[key] for key in ("architectures",) if key in config}
    facts = {key: config[key] for key in keys if config.get(key) not in (None, {}, [], False)}
    return facts | ({"revision": place.revision} if place.revision else {})


def _named_base(place: Found) -> str:
    if place.kind != "adapter":
        return ""
    try:
        return adapter_base(place.folder)
    except (OSError, ValueError, KeyError):
        return ""


def _measured(model: Inspected, named: str, update: Update, form: TaskVectors, base: BaseWeights) -> Inspected:
    vector = form.vectors["it"]
    squares: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name in vector.names():
        sums = squares[_layer(name)]
        sums[0] += float(block(vector, name).double().square().sum())
        sums[1] += float(base.tensor(name, torch.float32).double().square().sum())
    layers = [Layer(name, *_norms(*sums)) for name, sums in squares.items()]
    norm, of_base = _norms(sum(own for own, _ in squares.values()), sum(of for _, of in squares.values()))
    return model._replace(
        base=named,
        form="dense" if form.bases is None else "factored",
        parameters=len(vector.names()),
        norm=norm,
        of_base=of_base,
        layers=tuple(sorted(layers, key=lambda layer: (not layer.name.isdigit(), layer.name.zfill(6)))),
        notes=update.notes,
    )


def _norms(own: float, of_base: float) -> tuple[float, float]:
    return math.sqrt(own), math.sqrt(own / of_base) if of_base else 0.0


def _layer(name: str) -> str:
    match = _LAYER.search(name)
    return match[1] if match else name


def block(vector: TaskVector, name: str) -> torch.Tensor:
    """A parameter's delta, or the core that has its norm and its inner products with those on the same bases."""
    return vector.core(name) if isinstance(vector, FactoredTaskVector) else vector.delta(name)


def _likenesses(models: Sequence[Inspected], updates: Mapping[int, tuple[str, Update]]) -> list[Likeness]:
    """The cosine of each pair on one base; one parameter of all is held at a time."""
    found = []
    for named in dict.fromkeys(named for named, _ in updates.values()):
        of_base = {str(number): update for number, (base, update) in updates.items() if base == named}
        if len(of_base) < 2:
            continue
        vectors = task_vectors(of_base).vectors
        products: dict[tuple[str, str], float] = defaultdict(float)
        for name in next(iter(vectors.values())).names():
            blocks = {number: block(vector, name).flatten().double() for number, vector in vectors.items()}
            for one, two in (*combinations(blocks, 2), *((number, number) for number in blocks)):
                products[one, two] += float(blocks[one] @ blocks[two])
        for one, two in combinations(vectors, 2):
            size = math.sqrt(products[one, one] * products[two, two])
            cosine = products[one, two] / size if size else 0.0
            found.append(Likeness(models[int(one)].given, models[int(two)].given, cosine))
    return found
