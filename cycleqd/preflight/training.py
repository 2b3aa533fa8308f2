"""Whether the trainer that a configuration names can train here what it is to train."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import yaml

from cycleqd.config import RunConfig
from cycleqd.config.trainer import TrainerConfig
from cycleqd.models.hardware import gpu_count
from cycleqd.preflight.finding import Check
from cycleqd.seams import TRAINERS


def check_trainer(config: RunConfig) -> Check:
    """Looks at trainer, packages, accelerate's configuration and GPUs."""
    settings = config.experts.trainer
    if found := _lacking(config):
        return Check("trainer", False, *found)
    if settings.kind == "loop":
        return Check("trainer", True, "the loop, in the run's process")
    return Check("trainer", True, f"{settings.kind}, {settings.processes} process(es)")


def _lacking(config: RunConfig) -> tuple[str, str] | None:
    """What is in the way of training, and what to do about it; None where nothing is."""
    settings = config.experts.trainer
    if settings.kind == "loop":
        return None
    trained = bool(config.trained) or config.comparison.all_data
    if not trained and not config.refinement.epochs:
        return None
    loop = "set experts.trainer.kind to loop"
    if config.model.kind == "segmentation":
        return f"{settings.kind} trains language models, and model.kind is segmentation", loop
    if config.shows_images and not TRAINERS.load(settings.kind).SEES:
        return f"{settings.kind} trains on no conversations that show images", loop
    if importlib.util.find_spec("accelerate") is None:
        return "it needs the package accelerate", f"pip install accelerate, or {loop}"
    if settings.accelerate_config is not None and (fault := _fault(settings, settings.accelerate_config)):
        return fault
    gpus = gpu_count()
    if gpus and settings.processes > gpus:
        text = f"{settings.processes} processes want a GPU each, and this process sees {gpus}"
        return text, f"set experts.trainer.processes to {gpus} or less"
    return None


def _fault(settings: TrainerConfig, given: str) -> tuple[str, str] | None:
    """What is wrong with the file that accelerate's launcher is given."""
    file, remedy = Path(given).expanduser(), "set experts.trainer.accelerate_config to what accelerate config writes"
    try:
        content: Any = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return f"{file} cannot be read: {' '.join(str(error).split())}", remedy
    if not isinstance(content, dict) or "distributed_type" not in content:
        return f"{file} names no distributed_type, so it is no configuration of accelerate", remedy
    if content.get("num_machines", 1) not in (None, 1):
        return f"{file} wants {content['num_machines']} machines; processes are started on this one", remedy
    if content["distributed_type"] == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        return f"{file} asks for DeepSpeed, which is not installed", "pip install deepspeed, or choose FSDP there"
    if content["distributed_type"] == "NO" and settings.processes > 1:
        text = f"{file} says distributed_type: NO, and experts.trainer.processes is {settings.processes}"
        return text, "set one of them to suit the other"
    return None
