"""Settings that say who fine-tunes experts, and with how many processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.section import Section
from cycleqd.seams import TRAINERS

if TYPE_CHECKING:
    TrainerName = str  # mypy can't read names from a table
else:
    TrainerName = Literal[tuple(TRAINERS)]


class TrainerConfig(Section):
    """Who fine-tunes experts. What is learned does not depend on it, up to rounding."""

    kind: TrainerName = "loop"
    """``loop`` is the run's own process on one device, repeatable bit for bit. ``transformers`` is that library's
    Trainer in processes of its own, for several GPUs, FSDP or DeepSpeed."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that share each global batch; one a GPU, where there are any."""
    accelerate_config: Annotated[str, Field(min_length=1)] | None = None
    """File that `accelerate config` wrote, with FSDP or DeepSpeed. Unless given: every process has the whole model."""
    gradient_checkpointing: bool = False
    """Computes activations again in the backward pass instead of keeping them: less memory, more time."""
    save_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps from one kept state to the next. Unless given: two minutes, or more where keeping takes long."""

    @field_validator("processes", "accelerate_config", "gradient_checkpointing", "save_steps")
    @classmethod
    def _belong_to_the_kind(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind")
        if kind == "loop" and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("the loop takes no such setting: set experts.trainer.kind to transformers")
        return value
