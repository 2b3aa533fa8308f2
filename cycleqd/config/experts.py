"""Settings of fine-tuning: how an expert is trained, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.section import Section
from cycleqd.config.skills import SkillName
from cycleqd.config.trainer import TrainerConfig
from cycleqd.seams import RECIPES
from cycleqd.skills.registry import find

if TYPE_CHECKING:
    RecipeName = str  # mypy can't read names from a table
else:
    RecipeName = Literal[tuple(RECIPES)]

T = TypeVar("T")


class DataSourceConfig(Section):
    """One data set that an expert learns from."""

    recipe: RecipeName
    """How a row becomes a conversation; the table is `cycleqd.seams.RECIPES`."""
    path: Annotated[Annotated[str, Field(min_length=1)] | None, Field(validate_default=True)] = None
    """JSONL, JSON or Parquet file, folder of such files, or hub id. Unless given: the recipe's hub id."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Split of a hub data set. Unless given: the recipe's."""
    subset: Annotated[str, Field(min_length=1)] | None = None
    """Only rows of this part of the data set, e.g. ``os`` or ``db`` of Agent-FLAN."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """At most so many of the rows that are fit to train on, drawn by the run's seed. Unless given: all."""

    @field_validator("path")
    @classmethod
    def _can_be_found(cls, path: str | None, info: ValidationInfo) -> str | None:
        recipe = info.data.get("recipe")
        if path is None and recipe and RECIPES[recipe].hub_id is None:
            raise ValueError(f"recipe {recipe} has no published data set: set path to a file or a hub id")
        return path

    @field_validator("subset")
    @classmethod
    def _has_subsets(cls, subset: str | None, info: ValidationInfo) -> str | None:
        recipe = info.data.get("recipe")
        if subset is not None and recipe and RECIPES[recipe].part is None:
            others = ", ".join(name for name, known in RECIPES.items() if known.part)
            raise ValueError(f"recipe {recipe} has no subsets; there are some in {others}")
        return subset


class DataConfig(Section):
    """What one skill's expert learns from, in place of the suite's own gold episodes."""

    sources: Annotated[tuple[DataSourceConfig, ...], Field(min_length=1)]
    """Data sets; their conversations are trained on together."""
    max_length: Annotated[int, Field(ge=16)] | None = None
    """Tokens per conversation; longer ones are left out and counted. Unless given: `experts.max_length`."""
    decontamination: Annotated[int, Field(ge=5)] | Literal[0] = 10
    """Conversations that share so many consecutive words with an evaluation sample are left out; 0 keeps them."""


class TruncationConfig(Section):
    """How much of each matrix's change is kept, where an expert is no change of low rank."""

    rank: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most singular values of a matrix."""
    energy: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Field(validate_default=True)] = None
    """Share of the sum of a matrix' squared singular values that is enough. Without a rank, every matrix is decomposed
    whole, which takes minutes for a large one on a CPU."""

    @field_validator("energy")
    @classmethod
    def _says_how_much(cls, energy: float | None, info: ValidationInfo) -> float | None:
        if energy is None and "rank" in info.data and info.data["rank"] is None:
            raise ValueError("say how much is kept, by rank or energy")
        return energy


def _of(table: Mapping[str, T], skill: str) -> T | None:
    """The entry of a skill, which a configuration may have written as ``module:Class``."""
    return next((value for name, value in table.items() if find(name).name == skill), None)


class ExpertConfig(Section):
    """Supervised fine-tuning of one expert per skill."""

    method: Literal["lora", "full"] = "lora"
    """``lora`` makes small factored task vectors; ``full`` trains all weights and merges dense ones."""
    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """LoRA rank."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA scaling: the update is multiplied by alpha / rank."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the training conversations."""
    epochs_by_skill: dict[SkillName, Annotated[float, Field(gt=0)]] = {}  # noqa: RUF012 -- pydantic copies it
    """Passes for skills that want another number than `epochs`."""
    data: dict[SkillName, DataConfig] = {}  # noqa: RUF012 -- as above
    """Training data of skills that do not learn from their own gold episodes; benchmarks have none of their own."""
    source: dict[SkillName, Annotated[str, Field(min_length=1)]] = {}  # noqa: RUF012 -- as above
    """Experts that are not trained here: a folder or a hub id (``owner/name@revision``) of a LoRA adapter or of a
    checkpoint, fine-tuned from `model.name`."""
    truncation: TruncationConfig | None = None
    """Brings experts that change whole matrices (``full``, checkpoints) to a low rank. What else only LoRA experts
    have, such as small individuals, adapters and RegMean, can then be had for them; the run says how much was lost.
    Unless given: their task vectors are dense, and exact."""
    spectral: Annotated[bool, Field(validate_default=True)] = False
    """Decomposes what dense experts changed, once, so that their children are small and still exact: coefficients of
    the experts, and offsets of their singular values. Wants a linear `crossover` and `mutation.basis` ``expert``. The
    decompositions take the room of some 1.5 checkpoints in fp32 for each expert, and on a CPU hours for a large
    model."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-4
    """AdamW's peak learning rate, reached after the warm-up."""
    global_batch: Annotated[int, Field(ge=1)] = 8
    """Conversations per optimizer step."""
    micro_batch: Annotated[int, Field(ge=1)] = 8
    """Conversations per forward pass; gradients accumulate up to `global_batch`."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises linearly; a cosine follows."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay."""
    max_length: Annotated[int, Field(ge=16)] = 512
    """Tokens per conversation; longer conversations are left out and counted."""
    packing: bool = False
    """Fills a forward pass with whole conversations up to `max_length` tokens instead of padding them."""
    validation_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the conversations held out to choose the best epoch; 0 keeps the last."""
    trainer: Annotated[TrainerConfig, Field(validate_default=True)] = TrainerConfig()
    at_a_time: Annotated[int, Field(ge=1, le=64)] = 1
    """Experts that train at the same time, each on its share of the machine's cores. On a CPU that is faster for small
    models. Each needs memory of its own. Only the trainer ``loop`` does it; others train one after the other."""

    @field_validator("trainer", mode="before")
    @classmethod
    def _is_as_usual(cls, trainer: Any) -> Any:
        return TrainerConfig() if trainer is None else trainer

    @field_validator("trainer")
    @classmethod
    def _all_have_a_share(cls, trainer: TrainerConfig, info: ValidationInfo) -> TrainerConfig:
        batch = info.data.get("global_batch")
        if batch is not None and trainer.processes > batch:
            raise ValueError(
                f"{trainer.processes} processes share {batch} conversations: set experts.global_batch to "
                f"{trainer.processes} or more, or trainer.processes to {batch} or less"
            )
        return trainer

    @field_validator("epochs_by_skill", "data", "source")
    @classmethod
    def _differ(cls, given: Mapping[str, T]) -> Mapping[str, T]:
        named = [find(name).name for name in given]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is listed twice, by its name and as module:Class")
        return given

    @property
    def side_by_side(self) -> int:
        """Experts that train at the same time."""
        return self.at_a_time if self.trainer.kind == "loop" else 1

    @property
    def are_low_rank(self) -> bool:
        """Whether the experts that are trained here end as changes of low rank."""
        return self.method == "lora" or self.truncation is not None

    @field_validator("spectral")
    @classmethod
    def _is_not_truncated(cls, spectral: bool, info: ValidationInfo) -> bool:
        if spectral and info.data.get("truncation") is not None:
            raise ValueError("truncated experts have small children already: unset spectral or truncation")
        return spectral

    def data_of(self, skill: str) -> DataConfig | None:
        """What a skill's expert learns from; None for gold episodes.

        Args:
            skill: The skill's name, here and below: however the configuration writes it.
        """
        return _of(self.data, skill)

    def source_of(self, skill: str) -> str | None:
        """Where a skill's expert comes from; None where it is trained here."""
        return _of(self.source, skill)

    def epochs_of(self, skill: str) -> float:
        """Passes over a skill's conversations."""
        return _of(self.epochs_by_skill, skill) or self.epochs

    def max_length_of(self, skill: str) -> int:
        """Tokens of a skill's longest conversation."""
        data = self.data_of(skill)
        return (data.max_length if data else None) or self.max_length
