"""The base model: where it comes from, and its weights as memory-mapped tensors.

A base model is a local Hugging Face checkpoint directory (configuration, tokenizer with chat template,
safetensors). `resolve_base` makes one from a directory, a hub id, a GGUF file or the name of a model that packages
carry; `BaseWeights` reads its weights one at a time and never writes them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from cycleqd.checkpoint import (
    CONFIG_FILE,
    BaseModelInvalid,
    check_folder,
    is_buffer,
    open_tensors,
    read_config,
    repeated_head,
)
from cycleqd.model_layout import Layout, as_stored, empty_model, layout_of
from cycleqd.packed_models import (
    EMBEDDED_MODEL,
    GGUF_SUFFIX,
    PACKED,
    BaseModelUnavailable,
    convert_gguf,
    convert_packed,
)
from cycleqd.task_vector.rows import split

_HUB_PATTERNS: Final = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]

_log = logging.getLogger(__name__)


def resolve_base(name: str, cache_dir: Path, *, revision: str | None = None) -> Path:
    """Returns the checkpoint directory of a base model, making or downloading it first where needed.

    Args:
        name: A key of `PACKED` such as ``smollm2-135m-instruct`` (the embedded model), a checkpoint directory, a GGUF
            file, or a hub id such as ``meta-llama/Meta-Llama-3-8B-Instruct``.
        cache_dir: Where a converted or downloaded model is kept; created when missing.
        revision: Branch, tag or commit of a hub model; None is its main branch as it is now.

    Returns:
        A directory with ``config.json``, a tokenizer and safetensors.

    Raises:
        BaseModelInvalid: The directory is not a checkpoint, or the file no GGUF model, that can be used.
        BaseModelUnavailable: The package or the hub does not give the model.
    """
    if name in PACKED:
        return _packed(name, cache_dir)
    place = Path(name).expanduser()
    if place.is_dir():
        return _as_stored(place.resolve(), cache_dir)
    if is_gguf(name):
        return _from_gguf(place.resolve(), cache_dir)
    if name.startswith((".", "~")) or Path(name).is_absolute():
        raise BaseModelInvalid(f"base model {name!r}: there is no such directory or GGUF file")
    return _from_hub(name, cache_dir, revision)


def public_name(name: str) -> str:
    """What other programs find a base model by: a hub id, or the absolute path of a directory or GGUF file.

    Args:
        name: As `resolve_base` takes it.
    """
    if name in PACKED:
        return PACKED[name].hub_id
    place = Path(name).expanduser()
    return str(place.resolve()) if place.is_dir() or is_gguf(name) else name


def is_gguf(name: str) -> bool:
    """Whether a base model's name is the path of a GGUF file."""
    place = Path(name).expanduser()
    return place.suffix == GGUF_SUFFIX and place.is_file()


def _as_stored(directory: Path, cache_dir: Path) -> Path:
    """The directory, or a view of it whose configuration says what the files hold.

    Some fine-tunes have an output head of their own and a configuration that still ties it to the embedding.
    transformers then loads the head and vLLM does not, so the view unties it for everybody.
    """
    config = check_folder(directory)
    found = repeated_head(directory, config, open_tensors(directory))
    if found is None or found[1]:
        return directory
    files = sorted(file for file in directory.iterdir() if file.is_file())
    stamps = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    key = hashlib.sha256("\n".join([str(directory), *stamps]).encode()).hexdigest()[:16]
    target = cache_dir / "untied" / f"{directory.name}-{key}"
    if not target.is_dir():
        _log.warning("base model %s: config.json ties its head, but the files hold another one: untied", directory)
        with staged(target) as staging:
            for file in files:
                if file.name != CONFIG_FILE:
                    (staging / file.name).symlink_to(file)
            for part in (config, config.get("text_config")):
                if isinstance(part, dict):
                    part["tie_word_embeddings"] = False
            (staging / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    return target.resolve()


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to fill, which then becomes `target`, whole; where another process was faster its copy stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield staging
        os.chmod(staging, 0o755)  # mkdtemp's 0700 would survive the rename  # noqa: S103
        try:
            staging.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _from_hub(name: str, cache_dir: Path, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        path = Path(
            snapshot_download(name, revision=revision, cache_dir=cache_dir / "hub", allow_patterns=_HUB_PATTERNS)
        )
    except HFValidationError as error:
        raise BaseModelInvalid(f"base model {name!r}: neither a directory nor a valid hub id ({error})") from error
    except Exception as error:  # the hub client raises a dozen unrelated classes for "cannot be had"
        raise BaseModelUnavailable(
            f"base model {name!r} cannot be downloaded ({type(error).__name__}: {error}). Check the name and the "
            f"connection, give a local checkpoint directory, or use {EMBEDDED_MODEL!r}, which needs no hub."
        ) from error
    return _as_stored(path, cache_dir)


def _packed(name: str, cache_dir: Path) -> Path:
    target = cache_dir / name
    if not target.is_dir():
        with staged(target) as staging:
            convert_packed(name, staging)
    return target.resolve()


def _from_gguf(file: Path, cache_dir: Path) -> Path:
    """The checkpoint of somebody's GGUF file; a file that changed is converted again."""
    stamp = file.stat()
    key = hashlib.sha256(f"{file} {stamp.st_size} {stamp.st_mtime_ns}".encode()).hexdigest()[:16]
    target = cache_dir / "gguf" / f"{file.stem}-{key}"
    if not target.is_dir():
        with staged(target) as staging:
            try:
                convert_gguf(file, staging, name=str(file))
            except Exception as error:  # gguf and transformers raise all classes over what is in a file
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise BaseModelInvalid(f"base model {file}: transformers cannot read it ({reason})") from error
    return _as_stored(target.resolve(), cache_dir)


class BaseWeights:
    """The base's parameters by name, memory-mapped and read only.

    Tied parameters appear once, under the name that the checkpoint stores. Buffers that older versions of
    transformers stored beside the parameters are left out, as transformers leaves them out.

    Args:
        path: A checkpoint directory; sharded checkpoints are read through their index.

    Raises:
        BaseModelInvalid: The directory holds no safetensors, or its index names a missing file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        config = read_config(path)
        stored = open_tensors(path)
        self._file_of: dict[str, Any] = {
            name: handle
            for name, handle in stored.items()
            if not is_buffer(name, tuple(handle.get_slice(name).get_shape()))
        }
        found = repeated_head(path, config, stored)
        if found is not None and found[1]:
            self._file_of.pop(found[0])  # some tools store the embedding a second time under the head's name
        self._hash: str | None = None
        self._layout: Layout | None = None

    def names(self) -> tuple[str, ...]:
        """Every stored parameter, in a fixed order that keeps a layer's parameters together."""
        return tuple(sorted(self._file_of))

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's shape, without reading it.

        Raises:
            KeyError: The checkpoint has no such parameter.
        """
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all parameters."""
        return {name: self.shape(name) for name in self.names()}

    def layout(self) -> Layout:
        """Where the stored tensors lie in the language model; builds it without memory, once."""
        if self._layout is None:
            self._layout = layout_of(empty_model(self.path), self.shapes())
        return self._layout

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

    def blocks(self, name: str, rows: int, dtype: torch.dtype | None = None) -> Iterator[torch.Tensor]:
        """Copies of the parameter's consecutive rows, at most `rows` at a time; otherwise as `tensor`."""
        mapped = self._mapped(name)
        return (block.to(dtype or block.dtype, copy=True) for block in split(mapped, rows))

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

    def check_values(self) -> None:
        """Makes sure that every value is a finite number. Reads all weights once, at the speed of the disk or memory.

        Raises:
            BaseModelInvalid: A parameter holds NaN or infinite values.
        """
        for name in self.names():
            tensor = self._mapped(name)
            if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
                raise BaseModelInvalid(f"base model {self.path}: {name} holds NaN or infinite values")

    def matrices(self) -> tuple[str, ...]:
        """The weights of all linear layers but the output head: what peft's ``all-linear`` adapts.

        Raises:
            ValueError: The model's linear layers are stored under other names than the model's own.
        """
        model = empty_model(self.path)
        head = model.get_output_embeddings()
        names = [
            f"{name}.weight"
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        ]
        if missing := [name for name in names if name not in self._file_of]:
            raise ValueError(f"base model {self.path}: the checkpoint lacks {missing[0]} ({len(missing)} in all)")
        return tuple(sorted(names))


def _is_finite(tensor: torch.Tensor) -> bool:
    # The least and the largest value need no second tensor, and NaN comes through.
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def parameters_of(model: torch.nn.Module, weights: BaseWeights) -> dict[str, torch.Tensor]:
    """A model's parameters by the names of its files, for the caller to write to.

    Raises:
        BaseModelInvalid: See `compare_names`.
    """
    parameters = as_stored(model, weights.shapes())
    compare_names(weights.path, parameters, weights)
    return parameters


def compare_names(path: Path, parameters: Mapping[str, torch.Tensor], weights: BaseWeights) -> None:
    """Makes sure that a model's parameters are those which its files hold, in the same shapes.

    Args:
        path: The checkpoint directory, for the text.
        parameters: The model's, under all their names: tied ones are the same object.
        weights: What the files hold.

    Raises:
        BaseModelInvalid: A parameter is missing (it would get random values), has another shape, or is stored under a
            name that the model does not have.
    """
    stored = set(weights.names())
    aliases: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        aliases.setdefault(id(parameter), []).append(name)
    missing = sorted(names[0] for names in aliases.values() if not stored & set(names))
    unknown = sorted(stored - set(parameters))
    if missing and unknown:
        raise BaseModelInvalid(
            f"base model {path}: the model has {missing[0]} ({len(missing)} such) where the files hold {unknown[0]} "
            f"({len(unknown)} such); models that are stored under other names than they have cannot be merged"
        )
    if missing:
        raise BaseModelInvalid(
            f"base model {path}: {missing[0]} is missing from the files ({len(missing)} such), so it would be random"
        )
    if unknown:
        raise BaseModelInvalid(f"base model {path}: the model has no parameter {unknown[0]} ({len(unknown)} such)")
    for name in weights.names():
        if weights.shape(name) != tuple(parameters[name].shape):
            raise BaseModelInvalid(
                f"base model {path}: {name} has shape {weights.shape(name)} in the files and "
                f"{tuple(parameters[name].shape)} by config.json"
            )
