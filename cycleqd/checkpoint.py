"""What a model's folder says about itself, read in milliseconds: JSON files, and the safetensors' headers.

Nothing here trusts the folder. Whatever is wrong with it is one `BaseModelInvalid` with one line of text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from cycleqd.faults import MendableFault

INDEX_FILE: Final = "model.safetensors.index.json"
SINGLE_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"

_JSON_BYTES: Final = 64 * 2**20
"""No configuration is longer; a tokenizer's vocabulary, which may be, is read by its own library."""
_LARGEST_SIZE: Final = 2**31 - 1
_SIZE: Final = re.compile(
    r"vocab_size|hidden_size|intermediate_size|moe_intermediate_size|head_dim|max_position_embeddings|"
    r"num_hidden_layers|num_layers|num_attention_heads|num_key_value_heads|n_layer|n_layers|n_head|n_heads|n_embd|"
    r"n_inner|n_positions|d_model|d_ff"
)
_LAYERS: Final = re.compile(r"num_hidden_layers|num_layers|n_layers?")
_FINITE: Final = re.compile(r".*(eps|theta|epsilon|range|factor|scaling|scale|multiplier|softcapping)")
_PLAIN_DTYPES: Final = frozenset({"F64", "F32", "F16", "BF16"})
_WHOLE_DTYPES: Final = frozenset({"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})
_BUFFERS: Final = re.compile(
    r"(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|rotary_pos_emb\.inv_freq|\w*(attn|attention)\.masked_bias|"
    r"embeddings\.position_ids|position_ids)$"
)
_CAUSAL_MASK: Final = re.compile(r"(^|\.)\w*(attn|attention)\.bias$")
EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
HEADS: Final = ("lm_head.weight", "embed_out.weight")


class BaseModelInvalid(MendableFault, ValueError):
    """A model's folder cannot be used; the text is one line that names the folder and the fault."""


def one_line(error: BaseException, *, longest: int = 300) -> str:
    """An error's text without line breaks and control characters, with its class where the text says little."""
    text = "".join(character if character.isprintable() else "?" for character in " ".join(str(error).split()))
    telling = type(error) is ValueError or isinstance(error, BaseModelInvalid)
    named = text if telling else f"{type(error).__name__}: {text}"
    return named if len(named) <= longest else f"{named[:longest]}..."


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        BaseModelInvalid: It holds none.
    """
    try:
        if file.stat().st_size > _JSON_BYTES:
            raise BaseModelInvalid(f"base model {file.parent}: {file.name} is larger than {_JSON_BYTES >> 20} MiB")
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        if isinstance(error, BaseModelInvalid):
            raise
        raise BaseModelInvalid(f"base model {file.parent}: {file.name} is no JSON ({one_line(error)})") from None
    if not isinstance(data, dict):
        raise BaseModelInvalid(f"base model {file.parent}: {file.name} holds a {type(data).__name__}, not an object")
    return data


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json``, once its sizes are found to be sizes.

    Raises:
        BaseModelInvalid: The file is missing, is no JSON object, or a size is no whole number from 1 on.
    """
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise BaseModelInvalid(f"base model {directory}: no config.json, so it is not a Hugging Face checkpoint")
    config = read_object(file)
    for path, value in _sizes(config):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIZE:
            raise BaseModelInvalid(
                f"base model {directory}: config.json: {path} is {value!r:.40}, not a whole number from 1 on"
            )
    for path, value in _numbers(config):
        if math.isnan(value) or (math.isinf(value) and _FINITE.fullmatch(path.rpartition(".")[2])):
            raise BaseModelInvalid(f"base model {directory}: config.json: {path} is {value}")
    if "quantization_config" in config:
        raise BaseModelInvalid(
            f"base model {directory}: its weights are quantised (quantization_config), which cannot be merged with; "
            "use the model as it was before, in bf16"
        )
    return config


def _sizes(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("_config"):
            found += _sizes(value, f"{prefix}{key}.")
        elif _SIZE.fullmatch(key) and value is not None:
            found += [(f"{prefix}{key}", one) for one in (value if isinstance(value, list) else [value])]
    return found


def _numbers(value: Any, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, float):
        return [(path, value)]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in children for found in _numbers(child, f"{path}.{key}".lstrip("."))]


def check_folder(directory: Path) -> dict[str, Any]:
    """Looks at everything that can be seen without loading; returns the configuration.

    Raises:
        BaseModelInvalid: See `read_config` and `open_tensors`; or another of the folder's JSON files is none.
    """
    config = read_config(directory)
    tensors = open_tensors(directory)
    for path, layers in _sizes(config):
        if _LAYERS.fullmatch(path.rpartition(".")[2]) and layers > len(tensors):
            raise BaseModelInvalid(
                f"base model {directory}: config.json: {path} is {layers}, but the files hold {len(tensors)} tensors"
            )
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (directory / name).is_file():
            read_object(directory / name)
    return config


def open_tensors(directory: Path) -> dict[str, Any]:
    """The memory-mapped safetensors file of each tensor, by the tensor's name.

    Raises:
        BaseModelInvalid: No safetensors, a file that is missing or cut short, an index that does not fit the files,
            or tensors in a form that nothing can be added to.
    """
    file_of: dict[str, Any] = {}
    for file in _files(directory):
        try:
            handle: Any = safe_open(file, framework="pt")
            file_of |= dict.fromkeys(handle.keys(), handle)
        except OSError as error:
            raise BaseModelInvalid(f"base model {directory}: {file.name} cannot be read ({one_line(error)})") from None
        except Exception as error:  # safetensors' own class, which derives from Exception alone
            raise BaseModelInvalid(
                f"base model {directory}: {file.name} is damaged or was not fetched whole ({one_line(error)})"
            ) from None
    if not file_of:
        raise BaseModelInvalid(f"base model {directory}: its files hold no tensors")
    for name, handle in file_of.items():
        stored = handle.get_slice(name).get_dtype()
        if stored not in _PLAIN_DTYPES | _WHOLE_DTYPES:
            raise BaseModelInvalid(
                f"base model {directory}: {name} is stored as {stored}, whose scales lie elsewhere; "
                "use the model in bf16, fp16 or fp32"
            )
    return file_of


def _files(directory: Path) -> list[Path]:
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE]
    index = directory / INDEX_FILE
    if not index.is_file():
        raise BaseModelInvalid(
            f"base model {directory}: neither {SINGLE_FILE} nor {INDEX_FILE}; "
            "load it with transformers and save it with save_pretrained() to get safetensors"
        )
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise BaseModelInvalid(f"base model {directory}: {INDEX_FILE} has no weight_map of file names")
    names = sorted(set(weight_map.values()))
    if odd := [name for name in names if "/" in name or not name.endswith(".safetensors")]:
        raise BaseModelInvalid(f"base model {directory}: {INDEX_FILE} names {odd[0]!r:.80}, no file of this folder")
    files = [directory / name for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        raise BaseModelInvalid(f"base model {directory}: {INDEX_FILE} names missing files: {', '.join(missing[:5])}")
    return files


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a stored tensor is what models compute by themselves: transformers skips it, and so do we."""
    return bool(_BUFFERS.search(name)) or (len(shape) == 4 and bool(_CAUSAL_MASK.search(name)))


def repeated_head(directory: Path, config: Mapping[str, Any], file_of: Mapping[str, Any]) -> tuple[str, bool] | None:
    """An output head that is stored although the configuration ties it to the embedding.

    Returns:
        The head's name, and whether it has the embedding's values; None where there is no such head.
    """
    head = next((name for name in file_of if name.endswith(HEADS)), None)
    embedding = next((name for name in file_of if name.endswith(EMBEDDINGS)), None)
    if head is None or embedding is None or not _is_tied(directory, config):
        return None
    first, second = (file_of[name].get_tensor(name) for name in (head, embedding))
    if first.shape != second.shape:
        return head, False
    # `equal` makes no third tensor, which an embedding of 8B models would feel, but takes one dtype only.
    return head, bool(first.equal(second) if first.dtype == second.dtype else (first == second).all())


def _is_tied(directory: Path, config: Mapping[str, Any]) -> bool:
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and "tie_word_embeddings" in part:
            return bool(part["tie_word_embeddings"])
    from transformers import AutoConfig  # the class knows its default, which not all files spell out

    try:
        known = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # any class: what is wrong is in the file
        raise BaseModelInvalid(f"base model {directory}: config.json cannot be used ({one_line(error)})") from None
    return bool(getattr(known.get_text_config(), "tie_word_embeddings", False))
