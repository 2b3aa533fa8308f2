"""What a SAM is: its configuration, its check, its preparation of images.

No processor of transformers is used: those of newer versions need torchvision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cycleqd.base_model import BaseWeights, compare_names
from cycleqd.checkpoint import BaseModelInvalid, one_line, read_config
from cycleqd.skills.segmentation.prompts import Prompt

MODEL_TYPE: Final = "sam"
_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)
"""Of ImageNet's pixels, as SAM was trained with (Kirillov et al. 2023)."""


def tiny_config() -> Any:
    """The configuration of the small base.

    Images of 64 pixels in patches of 8, four layers of width 96, masks of 32 pixels; 0.52 M parameters.
    """
    from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    width = 64
    vision = SamVisionConfig(
        image_size=64,
        patch_size=8,
        hidden_size=96,
        mlp_dim=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        output_channels=width,
        num_pos_feats=width // 2,
        window_size=4,
        global_attn_indexes=[1, 3],
    )
    prompts = SamPromptEncoderConfig(
        hidden_size=width, image_size=64, patch_size=8, mask_input_channels=8, num_point_embeddings=4
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=width, mlp_dim=128, num_hidden_layers=2, num_attention_heads=4, iou_head_hidden_dim=64
    )
    return SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompts.to_dict(), mask_decoder_config=decoder.to_dict()
    )


def check_sam(folder: Path) -> int:
    """Makes sure that a checkpoint is a SAM that transformers can build; loads no weights.

    Returns:
        Width and height of the images that it takes, in pixels.

    Raises:
        BaseModelInvalid: It is another model, or the files are not those of its configuration.
    """
    config = read_config(folder)
    kind = config.get("model_type")
    if kind != MODEL_TYPE:
        raise BaseModelInvalid(
            f"base model {folder}: it is of type {kind!r}, and segmentation needs a SAM ({MODEL_TYPE!r}), such as "
            "facebook/sam-vit-huge or the small tiny-sam"
        )
    from transformers import SamConfig, SamModel

    try:
        with torch.device("meta"):
            model = SamModel(SamConfig.from_pretrained(folder))
    except Exception as error:  # a configuration of other people's may hold anything
        raise BaseModelInvalid(f"base model {folder}: config.json cannot be used ({one_line(error)})") from None
    compare_names(folder, tensors_of(model), BaseWeights(folder))
    return int(model.config.vision_config.image_size)


def load_sam(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model in a checkpoint, without its output heads changed; see `check_sam` for faults."""
    from transformers import SamModel

    # Attention with relative positions is eager in SAM, whatever is asked for.
    return SamModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def tensors_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A model's parameters and what it stores beside them, tied ones under all their names."""
    return {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }


def to_pixels(images: list[NDArray[np.uint8]], size: int) -> torch.Tensor:
    """Images as a model takes them: resized to a square, normalised.

    SAM pads the shorter side; Conv-LoRA and we stretch the image, so that no part of the square is wasted.

    Args:
        images: RGB, each of shape (height, width, 3), of any sizes.
        size: The square's side in pixels.

    Returns:
        fp32, shape (images, 3, size, size).
    """
    squares = np.stack([_resized(image, size) for image in images]).astype(np.float32)
    normal = (squares - np.asarray(_MEAN, np.float32)) / np.asarray(_STD, np.float32)
    return torch.from_numpy(normal).permute(0, 3, 1, 2).contiguous()


def prompt_arguments(prompts: list[Prompt], shapes: list[tuple[int, int]], size: int) -> dict[str, torch.Tensor]:
    """Prompts of one kind as arguments of the model.

    Args:
        prompts: All boxes, or all points.
        shapes: Height and width of each prompt's image.
        size: The square's side in pixels.
    """
    scales = [(size / width, size / height) for height, width in shapes]
    if prompts[0].box is not None:
        boxes = [
            [box[0] * x, box[1] * y, box[2] * x, box[3] * y]
            for (x, y), box in zip(scales, (prompt.box or (0, 0, 0, 0) for prompt in prompts), strict=True)
        ]
        return {"input_boxes": torch.tensor(boxes, dtype=torch.float32).unsqueeze(1)}
    points = [
        [[point[0] * x, point[1] * y]]
        for (x, y), point in zip(scales, (prompt.point or (0, 0) for prompt in prompts), strict=True)
    ]
    return {
        "input_points": torch.tensor(points, dtype=torch.float32).unsqueeze(1),
        "input_labels": torch.ones(len(points), 1, 1, dtype=torch.long),
    }


def mask_logits(model: Any, pixels: torch.Tensor, arguments: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """One mask an image, as logits, fp32, shape (images, size, size)."""
    found = model(pixel_values=pixels, multimask_output=False, **arguments).pred_masks[:, 0]
    stretched = torch.nn.functional.interpolate(found.float(), (size, size), mode="bilinear", align_corners=False)
    return stretched[:, 0]


def _resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)
