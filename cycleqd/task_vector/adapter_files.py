"""The names in a LoRA adapter's file, as peft writes them now, wrote them once, and as others write them.

A name says which module of the model it belongs to, and what it is there: a factor, a magnitude, rows of trained
tokens, or a whole parameter that was trained beside the factors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

PREFIX: Final = "base_model.model."
_ADAPTED: Final = re.compile(
    r"(?P<module>.+)\."
    r"(?P<role>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|trainable_tokens_delta)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)\w+))?(?:\.(?P<part>weight|bias))?"
)
_NESTED: Final = re.compile(r"(\.base_layer)+$")
_WRAPPED: Final = re.compile(r"\.(base_layer|modules_to_save(\.\w+)?|token_adapter)(?=\.)")

_LARGEST: Final = 1e30
"""Of scales; fp32 ends at 3.4e38, and factors are multiplied by it."""


class AdapterNames(NamedTuple):
    """What an adapter's file holds.

    Attributes:
        modules: By module, the tensors' names by what they are: ``lora_A``, ``lora_B``, ``lora_B.bias``,
            ``lora_embedding_A``, ``lora_embedding_B``, ``lora_magnitude_vector``, ``trainable_tokens_delta``.
        whole: By parameter, the name of the tensor that replaces it.
    """

    modules: Mapping[str, Mapping[str, str]]
    whole: Mapping[str, str]


def sort_names(names: Iterable[str]) -> AdapterNames:
    """Sorts the names in an adapter's file by what they are.

    Raises:
        ValueError: The file holds several adapters, or one thing twice.
    """
    modules: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    adapters = set()
    for key in sorted(names):
        name = key.removeprefix(PREFIX)
        match = _ADAPTED.fullmatch(name)
        if match is None:
            parameter = _WRAPPED.sub("", name)
            if parameter in whole:
                raise ValueError(f"{parameter} is there twice, as {whole[parameter]} and as {key}")
            whole[parameter] = key
            continue
        adapters.add(match["adapter"] or "")
        role = f"{match['role']}.bias" if match["part"] == "bias" else match["role"]
        # Of several adapted parameters of one module all but the last are nested: their names must stay apart.
        inner = _NESTED.sub("", match["module"])
        nested = match["module"].removeprefix(inner)
        of_module = modules.setdefault(_WRAPPED.sub("", f"{inner}.").removesuffix(".") + nested, {})
        of_module[role] = key
    if len(adapters) > 1:
        named = ", ".join(name or "one without a name" for name in sorted(adapters))
        raise ValueError(f"the file holds several adapters ({named}): save one of them alone")
    return AdapterNames(modules, whole)


def scale_of(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What peft multiplies B A of a module by: alpha / rank, or alpha / sqrt(rank) of rank-stabilised LoRA.

    Args:
        config: The adapter's configuration.
        module: The module's name in the model.
        rank: That of its factors.

    Raises:
        ValueError: The factors have another rank than the configuration says, so that the scale is not known; or alpha
            is no number that fp32 holds.
    """
    if (said := rank_of(config, module)) != rank:
        raise ValueError(f"{module} has factors of rank {rank}, adapter_config.json says {said}")
    alpha = _of_pattern(config, "alpha_pattern", module, config.get("lora_alpha"))
    try:
        scale = float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        scale = math.nan
    if not abs(scale) <= _LARGEST:  # so that NaN is refused, too
        raise ValueError(f"{module}: lora_alpha={alpha!r:.40} gives no scale: adapter_config.json must name a number")
    return scale


def rank_of(config: Mapping[str, Any], module: str) -> Any:
    """The rank that the configuration says of a module."""
    return _of_pattern(config, "rank_pattern", module, config.get("r"))


def _of_pattern(config: Mapping[str, Any], option: str, module: str, usual: Any) -> Any:
    """The value of the first pattern that matches the module, as peft chooses it."""
    for pattern, value in (config.get(option) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return usual
