"""Whether two configurations make the same weights compute the same.

Every setting of the model's class counts, except those that are known to change nothing. Both files are loaded by the
class first: it knows its defaults, older names and what follows from what, so that spelling these out makes no
difference.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cycleqd.checkpoint import one_line
from cycleqd.experts.sources.protocol import SourceInvalid

_HARMLESS: Final = re.compile(
    # What a file says of itself, and of how it was saved or is to be loaded.
    r"_name_or_path|architectures|auto_map|transformers_version|(torch_)?dtype|quantization_config|tokenizer_class|"
    r"prefix|torchscript|pretraining_tp|reorder_and_upcast_attn|chunk_size_feed_forward|_?(attn|experts)_implementation|"
    # Training and its start.
    r"\w*dropout\w*|\w*_pdrop|\w*layerdrop|init_std|initializer_\w+|router_aux_loss_coef|router_jitter_noise|"
    r"gradient_checkpointing|"
    # What is returned, and heads of other kinds.
    r"use_cache|output_\w+|return_dict\w*|problem_type|num_labels|id2label|label2id|summary_\w+|task_specific_params|"
    r"finetuning_task|"
    # Tokens; rows are reconciled by token, and the head's tie by the tensors.
    r"\w+_token_ids?|vocab_size|tie_word_embeddings|"
    # Widths inside a layer, which the shapes of the weights say.
    r"intermediate_size|n_inner|ffn_dim|"
    # What layer_types and sliding_window already say; the class has evaluated them.
    r"use_sliding_window|max_window_layers|_?sliding_window_pattern"
)
_LENGTHS: Final = frozenset({"max_position_embeddings", "n_positions", "original_max_position_embeddings"})
"""A longest text; only some kinds of rotary positions depend on it, and learned positions have as many rows."""
_WITHOUT_LENGTH: Final = frozenset({"default", "linear", "proportional"})
_OF_SCALED_ROPE: Final = frozenset(
    {
        *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "short_factor"),
        *("long_factor", "low_freq_factor", "high_freq_factor", "truncate", "mscale", "mscale_all_dim"),
    }
)
"""Settings that ordinary rotary positions do not read."""
_SAME_ACTIVATION: Final[Mapping[str, str]] = {
    "swish": "silu",
    "gelu_new": "gelu_pytorch_tanh",
    "gelu_fast": "gelu_pytorch_tanh",
    "gelu_python_tanh": "gelu_pytorch_tanh",
    "gelu_python": "gelu",
}
"""Other names, and other spellings, of one function."""
_RANK: Final[Mapping[str, int]] = {"model_type": -1, "layer_types": 1, "head_dim": 1, "sliding_window": 2}
"""Which difference is told first: what others follow from, and what follows from others last."""


class Difference(NamedTuple):
    """A setting that two configurations have differently."""

    key: str
    ours: Any
    theirs: Any


def text_settings(folder: Path) -> Mapping[str, Any]:
    """The text model's settings with the defaults of its class.

    Raises:
        SourceInvalid: The configuration cannot be used.
    """
    settings: Mapping[str, Any] = _loaded(folder).to_dict()
    return settings


def difference(base: Path, source: Path) -> Difference | None:
    """The first setting that makes the same weights compute something else; None where there is none.

    Args:
        base: The base's folder.
        source: The source's.

    Raises:
        SourceInvalid: A configuration cannot be used.
    """
    our_config, their_config = _loaded(base), _loaded(source)
    ours, theirs = _effective(our_config.to_dict()), _effective(their_config.to_dict())
    for key in sorted(ours.keys() | theirs.keys(), key=lambda key: (_RANK.get(key, 0), key)):
        one, other = ours.get(key), theirs.get(key)
        if one == other or (_says_nothing(one) and _says_nothing(other)):
            continue
        if _is_read(key, our_config):
            return Difference(key, one, other)
    return None


def _loaded(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    except Exception as error:  # any class: what is wrong is in the file
        raise SourceInvalid(f"expert source {folder}: config.json cannot be used ({one_line(error)})") from None


def _effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide, each in one form."""
    rope = _rope(settings.get("rope_parameters"))
    found = {key: _activation(key, value) for key, value in settings.items() if not _HARMLESS.fullmatch(key)}
    if "rope_parameters" in found:
        found["rope_parameters"] = rope
    if _kinds_of(rope) <= _WITHOUT_LENGTH:
        found = {key: value for key, value in found.items() if key not in _LENGTHS}
    kinds = found.get("layer_types")
    if isinstance(kinds, list) and not any("sliding" in str(kind) for kind in kinds):
        found.pop("sliding_window", None)
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    if found.get("head_dim") is None and isinstance(heads, int) and isinstance(width, int):
        found["head_dim"] = width // heads
    return found


def _rope(value: Any) -> Any:
    """Rotary settings without what their kind does not read; of some families there are several, by kind of layer."""
    if not isinstance(value, Mapping):
        return {}
    if any(isinstance(one, Mapping) for one in value.values()):
        return {kind: _rope(one) for kind, one in value.items() if isinstance(one, Mapping)}
    kind = value.get("rope_type", value.get("type", "default"))
    if kind == "linear" and value.get("factor") == 1:
        kind = "default"
    unread = {"type", *(_OF_SCALED_ROPE if kind == "default" else ())}
    said = {key: one for key, one in value.items() if key not in unread and one is not None}
    if said.get("partial_rotary_factor") == 1:
        del said["partial_rotary_factor"]
    return said | {"rope_type": kind}


def _kinds_of(rope: Mapping[str, Any]) -> set[str]:
    nested = [one for one in rope.values() if isinstance(one, Mapping)]
    return {str(one.get("rope_type", "default")) for one in (nested or [rope])}


def _activation(key: str, value: Any) -> Any:
    named = key.endswith(("act", "activation", "activation_function")) and isinstance(value, str)
    return _SAME_ACTIVATION.get(value, value) if named else value


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ([], {})


def _is_read(key: str, config: Any) -> bool:
    """Whether the model reads a setting: all that its class knows, and what else its source names.

    Files hold keys of other programs, too, such as the version of a trainer.
    """
    from transformers import AutoModelForCausalLM

    try:
        if key in type(config)().to_dict() or hasattr(type(config), key):
            return True
        model = AutoModelForCausalLM._model_mapping[type(config)]
        source = inspect.getsource(sys.modules[model.__module__])
    except Exception:  # a class of which this is not known, for whatever reason: better refused than merged wrongly
        return True
    return re.search(rf"config\.{re.escape(key)}\b|config, [\"']{re.escape(key)}[\"']", source) is not None
