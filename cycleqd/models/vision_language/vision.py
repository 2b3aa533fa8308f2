"""Vision tower and projector of a LLaVA checkpoint, without its language model.

Liu et al. 2023 (https://arxiv.org/abs/2304.08485): the projector turns each patch that the tower has seen into a
vector that the language model reads in place of a word's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cycleqd.checkpoint import BaseModelInvalid, check_folder, one_line, open_tensors

TOWER: Final = "vision_tower."
PROJECTOR: Final = "multi_modal_projector."
_OLD: Final = "vision_model."
"""Older versions of transformers put this in front of a tower's parameters."""


def check_llava(folder: Path, *, width: int | None = None) -> dict[str, Any]:
    """Looks at a folder's configuration and the names of its tensors.

    Args:
        folder: A checkpoint directory.
        width: Numbers of a word's embedding in the language model; None does not compare.

    Returns:
        The configuration.

    Raises:
        BaseModelInvalid: It is no LLaVA checkpoint, or was made for embeddings of another width.
    """
    config = check_folder(folder)
    if config.get("model_type") != "llava":
        raise BaseModelInvalid(
            f"model.vision {folder}: expected a LLaVA checkpoint (model_type llava), got {config.get('model_type')!r}"
        )
    names = list(open_tensors(folder))
    if missing := [part for part in (TOWER, PROJECTOR) if not any(part in name for name in names)]:
        raise BaseModelInvalid(
            f"model.vision {folder}: it holds no tensors of {' and '.join(missing)}".replace(".", "")
        )
    made_for = (config.get("text_config") or {}).get("hidden_size", 4096)  # of transformers' LlamaConfig
    if width is not None and made_for != width:
        raise BaseModelInvalid(
            f"model.vision {folder}: its projector was made for a language model of width {made_for}, model.name has "
            f"{width}"
        )
    return config


class Vision:
    """What an image looks like to a language model. Computes in fp32; never trained here.

    Args:
        folder: A LLaVA checkpoint's directory; of its language model nothing is read.
        device: Where to compute.

    Raises:
        BaseModelInvalid: See `check_llava`; or its tensors are not those of its configuration.
    """

    def __init__(self, folder: Path, *, device: torch.device | None = None) -> None:
        from transformers import AutoConfig, AutoImageProcessor

        check_llava(folder)
        self._device = device or torch.device("cpu")
        try:
            self._config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            self._processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
            self._tower, self._projector = build(self._config)
            _fill(self._tower, TOWER, folder)
            _fill(self._projector, PROJECTOR, folder)
        except BaseModelInvalid:
            raise
        except Exception as error:  # libraries raise all classes over what is in a file
            raise BaseModelInvalid(f"model.vision {folder}: it cannot be loaded ({one_line(error)})") from error
        self._tower.to(self._device).eval().requires_grad_(False)
        self._projector.to(self._device).eval().requires_grad_(False)
        size = int(self._config.vision_config.image_size)
        self.tokens = int(self.features([np.zeros((size, size, 3), dtype=np.uint8)]).shape[1])
        """Words' places that an image takes."""

    @torch.inference_mode()
    def features(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """What the language model reads of images.

        Args:
            images: RGB, each of shape (height, width, 3), of any size.

        Returns:
            Shape (images, tokens, width of the language model), fp32.
        """
        pixels = self._processor(list(images), return_tensors="pt")["pixel_values"].to(self._device)
        return see(self._tower, self._projector, self._config, pixels)


def build(config: Any) -> tuple[Any, Any]:
    """Tower and projector of a LLaVA configuration, with random weights."""
    from transformers import AutoModel
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    return AutoModel.from_config(config.vision_config).float(), LlavaMultiModalProjector(config).float()


def see(tower: Any, projector: Any, config: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Projects what a tower's chosen layers say of each patch; shape (images, patches, width)."""
    states = tower(pixels, output_hidden_states=True).hidden_states
    layers = config.vision_feature_layer
    chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
    if config.vision_feature_select_strategy == "default":  # the first place holds the class, not a patch
        chosen = [state[:, 1:] for state in chosen]
    projected: torch.Tensor = projector(torch.cat(chosen, dim=-1))
    return projected


def _fill(module: Any, part: str, folder: Path) -> None:
    """Loads a module from a checkpoint's tensors, in whichever version of transformers they were saved."""
    own = {name.removeprefix(_OLD): tensor for name, tensor in module.state_dict().items()}
    handles = open_tensors(folder)
    stored = {name.rpartition(part)[2].removeprefix(_OLD): name for name in handles if part in name}
    if missing := sorted(own.keys() - stored.keys()):
        raise BaseModelInvalid(f"model.vision {folder}: {part}{missing[0]} is missing ({len(missing)} such)")
    with torch.no_grad():
        for name, tensor in own.items():
            found = handles[stored[name]].get_tensor(stored[name])
            if found.shape != tensor.shape:
                raise BaseModelInvalid(
                    f"model.vision {folder}: {stored[name]} has shape {tuple(found.shape)}, expected "
                    f"{tuple(tensor.shape)}"
                )
            tensor.copy_(found)
