"""An expert that this run has fine-tuned: a LoRA adapter, plain or with whole modules beside it, or all weights."""

from __future__ import annotations

from pathlib import Path

from cycleqd.base_model import BaseWeights
from cycleqd.experts.sources.adapter import Adapter
from cycleqd.experts.sources.protocol import Update
from cycleqd.model_layout import arranged, empty_model
from cycleqd.task_vector import DenseTaskVector, read_lora_adapter


class Trained:
    """What `cycleqd.experts.train_expert` or `cycleqd.experts.segmentation.train_segmenter` wrote.

    Args:
        folder: Its ``out``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def update(self, base: BaseWeights) -> Update:
        """The expert minus the base; see `ExpertSource`."""
        if (self._folder / "adapter_config.json").is_file():
            adapter = Adapter(self._folder)
            if adapter.config.get("modules_to_save") or adapter.config.get("target_parameters"):
                return adapter.update(base)
            return Update(read_lora_adapter(self._folder))
        tuned = arranged(BaseWeights(self._folder), base, base.layout, lambda: empty_model(base.path))
        return Update({}, DenseTaskVector.between(base, tuned))

    def check_values(self) -> None:
        """Nothing: training refuses losses that are no numbers, and deltas are looked at when they are computed."""
