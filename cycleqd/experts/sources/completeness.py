"""Whether an adapter's file holds what its configuration says was trained.

What is missing would be read as untrained: the base's own value, or plain LoRA in place of DoRA.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cycleqd.checkpoint import HEADS, is_buffer
from cycleqd.experts.sources.vocabulary import is_by_token
from cycleqd.task_vector.adapter_files import AdapterNames

_BESIDE: Final[Mapping[str, tuple[str, str]]] = {
    "lora_magnitude_vector": ("use_dora", "magnitudes"),
    "lora_B.bias": ("lora_bias", "a bias of its own"),
}
_AGAIN: Final = "the file is not whole: save the adapter again with peft"


def check_factors(config: Mapping[str, Any], names: AdapterNames) -> None:
    """Looks at each module's tensors.

    Raises:
        ValueError: One of a pair of factors is missing, or what DoRA or `lora_bias` adds to them; or that is there
            although the configuration does not ask for it.
    """
    for module, keys in names.modules.items():
        for one, other in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
            if (one in keys) != (other in keys):
                have, lack = (one, other) if one in keys else (other, one)
                raise ValueError(f"{module} has {have} and lacks {lack}: {_AGAIN}")
        if "lora_A" not in keys:
            continue
        for role, (option, what) in _BESIDE.items():
            if bool(config.get(option)) and role not in keys:
                raise ValueError(f"{option} is set, and {module} lacks {what} ({role}): {_AGAIN}")
            if role in keys and not config.get(option):
                raise ValueError(f"{module} has {what} ({role}), and {option} is not set in adapter_config.json")


def check_tokens(config: Mapping[str, Any], names: AdapterNames, *, tied: bool) -> None:
    """Looks for the rows of `trainable_token_indices`.

    Args:
        config: The adapter's configuration.
        names: What its file holds.
        tied: Whether the base's head is its embedding, whose rows then stand for both.

    Raises:
        ValueError: There are none.
    """
    indices = config.get("trainable_token_indices")
    trained = [module for module, keys in names.modules.items() if "trainable_tokens_delta" in keys]
    wanted = list(indices) if isinstance(indices, Mapping) else [""] if indices else []
    for end in wanted:
        shared = tied and trained and f"{end}.weight".endswith(HEADS)
        if not shared and not any(module.endswith(end) for module in trained):
            where = f" of {end}" if end else ""
            raise ValueError(
                f"trainable_token_indices is set, and no rows{where} (trainable_tokens_delta) are there: {_AGAIN}"
            )


def check_whole(
    config: Mapping[str, Any], names: AdapterNames, shapes: Mapping[str, tuple[int, ...]], covered: Iterable[str]
) -> None:
    """Looks for the parameters that were trained whole.

    Args:
        config: The adapter's configuration.
        names: What its file holds.
        shapes: Of the base's parameters.
        covered: The base's parameters that the file replaces.

    Raises:
        ValueError: One that `modules_to_save` or `bias` names is missing.
    """
    there = set(covered)
    for option, wanted in (("modules_to_save", _saved(config, shapes)), ("bias", _biases(config, names, shapes))):
        if missing := sorted(wanted - there):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"{option}={config[option]!r:.60} is set, and {missing[0]}{more} is missing: {_AGAIN}")


def _saved(config: Mapping[str, Any], shapes: Iterable[str]) -> set[str]:
    """The parameters of modules whose names end as `modules_to_save` says, as peft finds them."""
    ends = tuple(config.get("modules_to_save") or ())
    found = set()
    for name in shapes if ends else ():
        parts = name.split(".")
        if any(".".join(parts[:count]).endswith(ends) for count in range(1, len(parts))):
            found.add(name)
    return found


def _biases(config: Mapping[str, Any], names: AdapterNames, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    kind = config.get("bias")
    ours = {
        name
        for name, shape in shapes.items()
        if name.endswith(".bias") and not is_buffer(name, shape) and not is_by_token(name)
    }
    if kind == "all":
        return ours
    adapted = tuple(f"{module}.bias" for module, keys in names.modules.items() if "lora_A" in keys)
    return {name for name in ours if name.endswith(adapted)} if kind == "lora_only" else set()
