"""An expert that is a LoRA adapter of peft's: factors, and what was trained beside them.

Most adapters stay factored, and then so can whatever is merged from them, as adapters do. Dense are DoRA (each row is
scaled anew), embeddings, biases, modules that were trained whole, rows of trained tokens, and layers that are stored
the other way round. PiSSA and OLoRA take a part out of the base before training; that part is subtracted again, so
the factors get twice the rank. Everything equals peft's ``merge_and_unload`` on the base in fp32, but for factors of
an embedding that is tied to the head (``ensure_weight_tying``): peft adds them to the shared tensor once for each of
its two names. Here they are added once, which is what the model computed when it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import EMBEDDINGS, HEADS, one_line
from cycleqd.experts.sources.adapter_options import Start, check_options
from cycleqd.experts.sources.completeness import check_factors, check_tokens, check_whole
from cycleqd.experts.sources.forms import product
from cycleqd.experts.sources.protocol import SourceInvalid, Update
from cycleqd.experts.sources.stacks import NESTED, is_targeted, stack_factors
from cycleqd.experts.sources.tensors import StoredTensors, read_json
from cycleqd.experts.sources.vocabulary import Vocabulary, is_by_token
from cycleqd.model_layout import Index
from cycleqd.task_vector import DenseTaskVector, LoraFactors
from cycleqd.task_vector.adapter_files import AdapterNames, rank_of, scale_of, sort_names

Deltas = dict[str, Callable[[], torch.Tensor]]

CONFIG: Final = "adapter_config.json"
_TIED: Final = (
    "the base ties its output head to its embedding, and the adapter changes one of them alone: no weights of this "
    "base give what was trained; train with ensure_weight_tying=True, or without it"
)


class Adapter:
    """A LoRA adapter in a folder.

    Args:
        folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors`` (or ``.bin``, read without running it).

    Raises:
        SourceInvalid: It does not, or the files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_json(folder / CONFIG)
        self._tensors = StoredTensors(folder, ("adapter_model",), {})

    def update(self, base: BaseWeights) -> Update:
        """The expert minus the base; see `ExpertSource`."""
        start = check_options(self.folder, self.config)
        self._tensors.check_types()
        try:
            return _Reading(self, self._tensors, base, start).update()
        except SourceInvalid:
            raise
        except Exception as error:  # a configuration of other people's may hold anything
            raise SourceInvalid(f"expert source {self.folder}: {one_line(error)}") from error

    def check_values(self) -> None:
        """Reads all stored numbers once; see `ExpertSource`."""
        self._tensors.check_values()


class _Reading:
    """One adapter against one base."""

    def __init__(self, adapter: Adapter, tensors: StoredTensors, base: BaseWeights, start: Start) -> None:
        self._config: Mapping[str, Any] = adapter.config
        self._tensor = tensors.tensor
        self._base = base
        self._start = start
        self._names: AdapterNames = sort_names(tensors.names())
        self._known = frozenset(base.names())
        self._tied = not any(name.endswith(HEADS) for name in self._known)
        self._vocabulary = Vocabulary(base.path, adapter.folder)
        self._factors: dict[str, LoraFactors] = {}
        self._dense: Deltas = {}
        self._replaced: set[str] = set()
        self._added_once = False

    def update(self) -> Update:
        if not self._names.modules and not self._names.whole:
            raise ValueError("the adapter holds no tensors")
        check_factors(self._config, self._names)
        check_tokens(self._config, self._names, tied=self._tied)
        for module, keys in self._names.modules.items():
            self._module(module, keys)
        for parameter, key in self._names.whole.items():
            self._whole(parameter, key)
        check_whole(self._config, self._names, self._base.shapes(), self._replaced)
        for name in self._factors.keys() & self._dense.keys():  # a module that was both trained whole and adapted
            self._add(name, product(self._factors.pop(name)))
        shapes = {name: self._base.shape(name) for name in self._dense}
        dense = DenseTaskVector(shapes, lambda name: self._dense[name]()) if self._dense else None
        return Update(self._factors, dense, self._vocabulary.notes(), not (self._vocabulary.moved or self._added_once))

    def _add(self, name: str, delta: torch.Tensor) -> None:
        known = self._dense.get(name)
        self._dense[name] = (lambda: delta) if known is None else lambda: known() + delta

    # Modules

    def _module(self, module: str, keys: Mapping[str, str]) -> None:
        roles = keys.keys()
        if self._tied and f"{module}.weight".endswith(HEADS):
            self._adapted_head(module, keys)
        elif roles == {"lora_embedding_A", "lora_embedding_B"}:
            self._embedding(module, keys)
        elif roles == {"trainable_tokens_delta"}:
            self._tokens(module, keys["trainable_tokens_delta"])
        elif roles == {"lora_A", "lora_B"} and self._config.get("target_parameters") and not self._is_linear(module):
            self._stack(module, self._tensor(keys["lora_A"]), self._tensor(keys["lora_B"]))
        elif roles >= {"lora_A", "lora_B"} and roles <= {"lora_A", "lora_B", "lora_B.bias", "lora_magnitude_vector"}:
            self._linear(module, keys)
        elif roles >= {"lora_embedding_A", "lora_magnitude_vector"}:
            raise ValueError(
                f"{module}: DoRA of an embedding is not read; merge the adapter into its base and give the checkpoint"
            )
        else:
            raise ValueError(f"{module} has {', '.join(sorted(roles))}, which is no set of factors that can be read")

    def _is_linear(self, module: str) -> bool:
        return not module.endswith(NESTED) and self._is_known(f"{module}.weight")

    def _stack(self, module: str, a: torch.Tensor, b: torch.Tensor) -> None:
        """Factors of all matrices of a stack, such as the experts of a layer."""
        if self._start != "plain":
            raise ValueError(
                f"{module}: a stack of matrices adapted with init_lora_weights={self._start!r} is not read"
            )
        factors, dense = stack_factors(self._base.layout(), self._config, module, a, b)
        self._factors |= factors
        for name, delta in dense.items():
            self._add(name, delta)

    def _linear(self, module: str, keys: Mapping[str, str]) -> None:
        name = self._found(f"{module}.weight")
        a, b = self._tensor(keys["lora_A"]), self._tensor(keys["lora_B"])
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise ValueError(
                f"{module}: factors of shapes {tuple(a.shape)} and {tuple(b.shape)} are of no linear layer"
            )
        parameter = f"{module}.weight"
        key = parameter if is_targeted(self._config, parameter) else module
        shape, linear = self._base.shape(name), (b.shape[0], a.shape[1])
        rank, said = a.shape[0], rank_of(self._config, key)
        if self._start != "plain" and rank == min(linear) and isinstance(said, int) and said > rank:
            raise ValueError(
                f"{module}: {self._start} with r={said} finds only {rank} directions in a matrix of {linear}, so its "
                f"scale is not known; train with r of at most {rank}, or merge the adapter and give the checkpoint"
            )
        scale = scale_of(self._config, key, rank)
        # Some models (GPT-2) store their layers the other way round; peft notes that any layer of the model is one.
        turned = bool(self._config.get("fan_in_fan_out")) and shape == linear[::-1]
        if shape != linear and not turned:
            raise ValueError(f"{module}: the adapter is made for shape {linear}, the base's {name} has {shape}")
        if "lora_B.bias" in keys:
            self._bias(module, self._tensor(keys["lora_B.bias"]) * scale)
        taken = self._taken(name, a.shape[0], scale, turned) if self._start != "plain" else None
        if "lora_magnitude_vector" in keys:
            magnitude = self._tensor(keys["lora_magnitude_vector"]).reshape(-1)
            if len(magnitude) != linear[0]:
                raise ValueError(f"{module}: {len(magnitude)} magnitudes for {linear[0]} rows")
            self._dense[name] = lambda: self._rescaled(name, LoraFactors(a, b, scale), taken, magnitude, turned)
            return
        if taken is not None:
            a, b = torch.cat([a, taken.a / scale]), torch.cat([b, -taken.b], dim=1)
        if turned:
            self._dense[name] = lambda: product(LoraFactors(a, b, scale)).T.contiguous()
            return
        self._factors[name] = LoraFactors(a, b, scale)

    def _taken(self, name: str, rank: int, scale: float, turned: bool) -> LoraFactors:
        """What PiSSA or OLoRA took out of the base before training.

        PiSSA: the largest singular values with their vectors (Meng et al. 2024, https://arxiv.org/abs/2404.02948).
        OLoRA: the first columns and rows of W = QR, times the scale (Büyükakyüz 2024,
        https://arxiv.org/abs/2406.01775). The products do not depend on the signs that a library chooses.
        """
        weight = self._weight(name, turned)
        if self._start == "pissa":
            u, sigma, vh = torch.linalg.svd(weight, full_matrices=False)
            return LoraFactors(vh[:rank], u[:, :rank] * sigma[:rank], 1.0)
        if turned:
            raise ValueError(f"{name}: OLoRA of a layer that is stored the other way round is not read; nor does peft")
        q, r = torch.linalg.qr(weight)
        return LoraFactors(r[:rank] * scale, q[:, :rank], 1.0)

    def _rescaled(
        self, name: str, factors: LoraFactors, taken: LoraFactors | None, magnitude: torch.Tensor, turned: bool
    ) -> torch.Tensor:
        """DoRA: every row of base plus update gets its own length (Liu et al. 2024, https://arxiv.org/abs/2402.09353)."""
        weight = self._weight(name, turned)
        moved = weight + product(factors) - (product(taken) if taken is not None else 0.0)
        delta: torch.Tensor = moved * (magnitude / moved.norm(dim=1)).unsqueeze(1) - weight
        return delta.T.contiguous() if turned else delta

    def _weight(self, name: str, turned: bool) -> torch.Tensor:
        weight = self._base.tensor(name, torch.float32)
        return weight.T if turned else weight

    def _bias(self, module: str, delta: torch.Tensor) -> None:
        name = f"{module}.bias"
        if not self._is_known(name):
            raise ValueError(f"it trains a bias of {module} (lora_bias), and the base has none there")
        self._dense[self._found(name)] = lambda: delta

    def _embedding(self, module: str, keys: Mapping[str, str]) -> None:
        if self._start != "plain":
            raise ValueError(f"{module}: an embedding adapted with init_lora_weights={self._start!r} is not read")
        name = self._found(f"{module}.weight")
        if by_token := is_by_token(name):  # learned positions are an embedding, too, and their rows are no tokens
            self._refuse_one_of_two(module)
            self._added_once = self._tied
        a, b = self._tensor(keys["lora_embedding_A"]), self._tensor(keys["lora_embedding_B"])
        scale = scale_of(self._config, module, a.shape[0])
        left = a.T
        if by_token:
            left = self._vocabulary.take(name, left, torch.zeros(self._base.shape(name)[0], a.shape[0]))
        if (left.shape[0], b.shape[0]) != self._base.shape(name):
            raise ValueError(
                f"{module}: the adapter has rows of {b.shape[0]} numbers, the base {self._base.shape(name)}"
            )
        self._add(name, product(LoraFactors(b.T, left, scale)))

    def _tokens(self, module: str, key: str) -> None:
        name = self._found(f"{module}.weight")
        indices = self._config.get("trainable_token_indices")
        if isinstance(indices, dict):
            indices = next((each for end, each in indices.items() if f".{module}".endswith(f".{end}")), None)
        trained, rows = self._tensor(key), self._base.shape(name)[0]
        if not isinstance(indices, list) or len(indices) != len(trained):
            raise ValueError(
                f"{module}: trainable_token_indices does not say which tokens its {len(trained)} rows are"
            )
        if beyond := [index for index in indices if not 0 <= index < rows]:
            raise ValueError(f"{module}: it trains token {beyond[0]}, and the base has {rows} rows")
        places = self._vocabulary.rows(name, rows, rows) if is_by_token(name) else None
        where = torch.tensor(indices)

        def delta() -> torch.Tensor:
            weight = self._base.tensor(name, torch.float32)
            moved = weight.index_copy(0, where, trained)
            return (moved if places is None else self._vocabulary.take(name, moved, weight)) - weight

        self._dense[name] = delta

    # Whole parameters

    def _whole(self, parameter: str, key: str) -> None:
        if self._tied and parameter.endswith(HEADS):
            self._repeated_head(key)
            return
        if not self._is_known(parameter) and (parts := self._parts(parameter)):
            self._whole_stack(parameter, key, parts)
            return
        name = self._found(parameter)
        self._replaced.add(name)
        stored = self._tensor(key)
        if is_by_token(name):
            stored = self._vocabulary.take(name, stored, self._base.tensor(name, torch.float32))
        if tuple(stored.shape) != self._base.shape(name):
            raise ValueError(
                f"{parameter} has shape {tuple(stored.shape)}, the base's {name} {self._base.shape(name)}"
            )
        # peft saves embeddings that it adapts, also where they are the base's own.
        own = self._base.tensor(name)
        if torch.equal(stored.to(own.dtype), own):
            return
        if name.endswith(EMBEDDINGS) and not any(one.endswith(HEADS) for one in self._names.whole):
            self._refuse_one_of_two(parameter)
        known = self._dense.get(name)
        self._dense[name] = lambda: self._taken_whole(name, key) + (known() if known is not None else 0.0)

    def _whole_stack(self, parameter: str, key: str, parts: Mapping[str, Index]) -> None:
        """A tensor of all experts of a mixture, which the base's files hold one by one."""
        self._replaced |= parts.keys()
        for name, index in parts.items():
            try:
                shape = tuple(self._tensor(key)[index].shape)
            except IndexError:
                shape = ()
            if shape != self._base.shape(name):
                raise ValueError(f"{parameter} does not have the shape of the base's experts, such as {name}")

            def delta(name: str = name, index: Index = index) -> torch.Tensor:
                return self._tensor(key)[index] - self._base.tensor(name, torch.float32)

            self._dense[name] = delta

    def _taken_whole(self, name: str, key: str) -> torch.Tensor:
        own, stored = self._base.tensor(name, torch.float32), self._tensor(key)
        return (self._vocabulary.take(name, stored, own) if is_by_token(name) else stored) - own

    def _repeated_head(self, key: str) -> None:
        """A head of a base that has none of its own: it must be the adapter's embedding, or else the base's."""
        beside = next((other for name, other in self._names.whole.items() if name.endswith(EMBEDDINGS)), None)
        embedding = next((name for name in self._known if name.endswith(EMBEDDINGS)), None)
        if embedding is None:
            raise ValueError(f"{key}: the base has no embedding that is known")
        head = self._tensor(key)
        if beside is not None:
            same = torch.equal(head, self._tensor(beside))
        else:
            own = self._base.tensor(embedding)
            same = torch.equal(self._vocabulary.take(embedding, head, own.float()).to(own.dtype), own)
        if not same:
            raise ValueError(_TIED)

    def _adapted_head(self, module: str, keys: Mapping[str, str]) -> None:
        """Factors of a head of a base that has none of its own: those of the embedding, the other way round."""
        beside = next(
            (other for name, other in self._names.modules.items() if f"{name}.weight".endswith(EMBEDDINGS)), {}
        )
        pairs = {"lora_A": "lora_embedding_B", "lora_B": "lora_embedding_A"}
        if keys.keys() != pairs.keys() or beside.keys() != set(pairs.values()):
            raise ValueError(f"{module}: {_TIED}")
        if not all(torch.equal(self._tensor(keys[one]), self._tensor(beside[two]).T) for one, two in pairs.items()):
            raise ValueError(f"{module}: {_TIED}")

    # Names

    def _refuse_one_of_two(self, module: str) -> None:
        if self._tied and not self._config.get("ensure_weight_tying"):
            raise ValueError(f"{module}: {_TIED}")

    def _is_known(self, name: str) -> bool:
        return bool(self._candidates(name))

    def _found(self, name: str) -> str:
        """The base's name of a parameter; prefixes differ with the class that an adapter was trained on."""
        found = self._candidates(name)
        if len(found) != 1:
            if self._tied and name.endswith(HEADS):
                raise ValueError(f"{name}: {_TIED}")
            raise ValueError(f"it changes {name}, which the base does not have: it was made for another base model")
        return found[0]

    def _candidates(self, name: str) -> list[str]:
        if name in self._known:
            return [name]
        found = [one for one in self._known if one.endswith(f".{name}") or name.endswith(f".{one}")]
        if not found:  # it may be named as in the model, and not as in the files
            found = [one for one, index in self._stored(name) if not index]
        return found

    def _parts(self, name: str) -> dict[str, Index]:
        """What holds a parameter that the base's files do not hold in one."""
        return {one: index for one, index in self._stored(name) if index}

    def _stored(self, name: str) -> list[tuple[str, Index]]:
        layout = self._base.layout()
        ends = [one for one in layout.shapes if one == name or one.endswith(f".{name}") or name.endswith(f".{one}")]
        return layout.stored(ends[0]) if len(ends) == 1 else []
