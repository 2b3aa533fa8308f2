"""The whole configuration of a run, and what must hold between its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails
from pydantic_core.core_schema import CoreSchema

from cycleqd.config.baselines import BaselineConfig, ComparisonConfig, RegMeanConfig
from cycleqd.config.evaluators import EvaluatorsConfig
from cycleqd.config.experts import ExpertConfig
from cycleqd.config.form import arrange
from cycleqd.config.machine import EngineConfig, RetentionConfig, SandboxConfig, TaskConfig
from cycleqd.config.model import ModelConfig
from cycleqd.config.operators import AggregationConfig, CrossoverConfig, MutationConfig
from cycleqd.config.refinement import RefinementConfig
from cycleqd.config.search import ArchiveConfig, GridConfig, NoiseConfig, SamplingConfig, SearchConfig
from cycleqd.config.section import Section
from cycleqd.config.segmentation import SegmentationConfig
from cycleqd.config.skills import SkillConfig
from cycleqd.config.trackers import TrackerConfig
from cycleqd.plain_yaml import write_yaml
from cycleqd.run_id import RunId
from cycleqd.seams import SEARCHES
from cycleqd.skills.registry import SkillRow
from cycleqd.urls import check_url

_FIRST: Final = ("run_id", "seed", "generations", "storage", "skills", "model")
"""What people change from run to run; a form begins with it."""
FOLDED: Final = (
    *("skills", "model", "segmentation", "experts", "search", "noise", "grid", "archive", "sampling", "crossover"),
    *("mutation", "aggregation", "refinement", "baselines", "regmean", "comparison", "evaluators", "engine"),
    *("sandbox", "tasks", "retention", "trackers"),
)
"""What may be null, which means its default; a form folds it."""


def _fault(where: tuple[int | str, ...], value: Any, text: str) -> InitErrorDetails:
    """One of several faults of a field; `where` inside it."""
    return InitErrorDetails(type="value_error", loc=where, input=value, ctx={"error": text})


def _example(row: SkillRow) -> str:
    """Training data for a benchmark's expert, as one would write it."""
    source: Mapping[str, str] = row.usual_data[0] if row.usual_data else {"recipe": "chat", "path": "FILE"}
    return f"{{sources: [{{{', '.join(f'{key}: {value}' for key, value in source.items())}}}]}}"


class RunConfig(Section):
    """Everything that determines one CycleQD run."""

    # A storage URL that is refused because it holds credentials must not show them in the refusal.
    model_config = ConfigDict(hide_input_in_errors=True)

    run_id: RunId = "demo"
    """Name of the run; its folder under `storage`. Starting the same run again continues it."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds every random draw together with the generation and the draw's purpose."""
    generations: Annotated[int, Field(ge=0)] = 42
    """Children to evolve."""
    storage: Annotated[str, AfterValidator(check_url)] = "runs"
    """Folder or fsspec URL that holds the runs; credentials come from the environment."""
    memory_limit: Annotated[float, Field(gt=0)] | None = None
    """GiB of memory that a process may hold while it derives, merges, mutates, aggregates or exports weights, without
    what an engine or a training takes. Steps that cannot keep to it are refused before the run. Unless given: none."""
    model: ModelConfig = ModelConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    # Ahead of `skills`, whose validator looks for their data and for the size of blocks.
    experts: ExpertConfig = ExpertConfig()
    search: SearchConfig = SearchConfig()
    noise: NoiseConfig = NoiseConfig()
    skills: Annotated[tuple[SkillConfig, ...], Field(min_length=1)] = (
        # Not validated: importing this module must not ask which packages are installed.
        SkillConfig.model_construct(name="coding"),
        SkillConfig.model_construct(name="os"),
        SkillConfig.model_construct(name="db"),
    )
    """The skills; the cycle works on their archives in this order. A benchmark needs data under `experts`."""
    grid: GridConfig = GridConfig()
    archive: ArchiveConfig = ArchiveConfig()
    sampling: SamplingConfig = SamplingConfig()
    crossover: CrossoverConfig = CrossoverConfig()
    mutation: MutationConfig = MutationConfig()
    aggregation: AggregationConfig = AggregationConfig()
    refinement: RefinementConfig = RefinementConfig()
    baselines: tuple[BaselineConfig, ...] = (
        BaselineConfig(method="task_arithmetic", scales=(0.4, 0.6, 0.8)),
        BaselineConfig(method="tsv", scales=(0.7, 0.85, 1.0)),
        BaselineConfig(method="iso_c", scales=(0.6, 0.8, 1.0)),
    )
    """Merges of the experts without a search, for comparison; every scale costs as much as a generation."""
    regmean: RegMeanConfig = RegMeanConfig()
    comparison: Annotated[ComparisonConfig, Field(validate_default=True)] = ComparisonConfig()
    evaluators: EvaluatorsConfig = EvaluatorsConfig()
    engine: Annotated[EngineConfig, Field(validate_default=True)] = EngineConfig()
    sandbox: SandboxConfig = SandboxConfig()
    tasks: TaskConfig = TaskConfig()
    retention: RetentionConfig = RetentionConfig()
    trackers: tuple[TrackerConfig, ...] = ()
    """Who else gets what the run measures: MLflow, TensorBoard, Weights & Biases."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema as the Prefect UI draws it best."""
        made = handler(schema)
        fields = handler.resolve_ref_schema(made)["properties"]
        arrange(fields, handler.resolve_ref_schema, first=_FIRST, folded=FOLDED)
        return made

    @field_validator(*FOLDED, mode="before")
    @classmethod
    def _is_as_usual(cls, value: Any, info: ValidationInfo) -> Any:
        return cls.model_fields[info.field_name or ""].default if value is None else value

    @field_validator("skills")
    @classmethod
    def _differ_and_can_be_learned(
        cls, skills: tuple[SkillConfig, ...], info: ValidationInfo
    ) -> tuple[SkillConfig, ...]:
        rows = [skill.row for skill in skills]
        names = [row.name for row in rows]
        faults: list[InitErrorDetails] = []
        if len(set(names)) != len(names):
            faults.append(_fault((), names, f"skills must differ, got {', '.join(names)}"))
        experts, search, model = (info.data.get(name) for name in ("experts", "search", "model"))
        for position, row in enumerate(rows):
            if model is not None and row.model != model.kind:
                text = f"{row.name} is a skill of {row.model} models, and model.kind is {model.kind}"
                faults.append(_fault((position, "name"), skills[position].name, text))
            if row.sees and model is not None and model.vision is None:
                text = f"{row.name} shows images: set model.vision, e.g. to tiny-vision or to a LLaVA checkpoint"
                faults.append(_fault((position, "name"), skills[position].name, text))
            if row.model == "segmentation" and experts is not None and experts.data_of(row.name):
                text = f"the {row.name} expert learns from the skill's own pictures: remove experts.data.{row.name}"
                faults.append(_fault((position,), row.name, text))
        for position, skill in enumerate(skills):
            count = skill.counts["optimization"]
            if search is not None and search.block is not None and (count is None or count < search.block):
                text = f"a block has {search.block} samples (search.block): give at least as many optimization samples"
                faults.append(_fault((position, "optimization"), count, text))
        for position, row in enumerate(rows):
            if experts is None or row.kind != "benchmark" or experts.data_of(row.name):
                continue
            if experts.source_of(row.name) and getattr(search, "merge", "") != "regmean":
                continue
            text = (
                f"{row.name} is a benchmark and has no training data of its own: "
                f"set experts.data.{row.name}, e.g. {_example(row)}, or experts.source.{row.name}"
            )
            faults.append(_fault((position,), row.name, text))
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return skills

    @field_validator("noise")
    @classmethod
    def _has_archives_and_blocks(cls, noise: NoiseConfig, info: ValidationInfo) -> NoiseConfig:
        search = info.data.get("search")
        if noise.is_off or search is None:
            return noise
        if search.block is None:
            raise ValueError("search.block must say how many samples a block has")
        if search.in_flight > 1:
            raise ValueError("noise decides after each child who is scored next: set search.in_flight to 1")
        if not hasattr(SEARCHES.load(search.kind), "offer"):
            raise ValueError(f"search {search.kind} does not breed from archives, which noise needs; choose another")
        if search.kind == "qd":  # with few children the last skills would have none
            raise ValueError("qd splits its children evenly over the skills, and noise decides how many there are")
        return noise

    @field_validator("mutation")
    @classmethod
    def _can_be_crossed(cls, mutation: MutationConfig, info: ValidationInfo) -> MutationConfig:
        crossover, experts = info.data.get("crossover"), info.data.get("experts")
        if experts is not None and experts.spectral:
            if mutation.kind == "svd" and mutation.settings.get("basis") != "expert":
                raise ValueError("experts.spectral stretches along the experts' singular vectors: set basis to expert")
            if crossover and crossover.kind not in ("linear", "task_arithmetic"):
                raise ValueError(f"experts.spectral wants linear merges, and crossover.kind is {crossover.kind}")
        if mutation.kind == "gaussian" and crossover and crossover.kind not in ("linear", "task_arithmetic"):
            raise ValueError(f"crossover {crossover.kind} can't decompose vectors with Gaussian noise; choose another")
        return mutation

    @field_validator("evaluators")
    @classmethod
    def _all_have_a_child(cls, evaluators: EvaluatorsConfig, info: ValidationInfo) -> EvaluatorsConfig:
        search = info.data.get("search")
        if search is not None and evaluators.count > search.in_flight:
            raise ValueError(
                f"{evaluators.count} evaluators want as many children in flight: set search.in_flight to "
                f"{evaluators.count} or more, or evaluators.count to {search.in_flight}"
            )
        return evaluators

    @field_validator("engine")
    @classmethod
    def _serves_what_is_evolved(cls, engine: EngineConfig, info: ValidationInfo) -> EngineConfig:
        search, model = info.data.get("search"), info.data.get("model")
        if model is not None and model.kind == "segmentation" and engine.kind not in ("auto", "transformers"):
            raise ValueError("a model that segments computes in transformers: set engine.kind to auto")
        if engine.kind == "server" and any(skill.row.sees for skill in info.data.get("skills") or ()):
            raise ValueError("servers are shown no images: set engine.kind to auto, vllm or transformers")
        evaluators = info.data.get("evaluators")
        elsewhere = evaluators is not None and evaluators.kind != "threads"
        if engine.kind != "server":
            if search is not None and search.in_flight > 1 and not elsewhere and evaluators is not None:
                raise ValueError(
                    "this engine holds one child at a time: set search.in_flight to 1, engine.kind to server, or "
                    "evaluators.kind to process, dask or ray"
                )
            return engine
        if elsewhere:
            raise ValueError("servers score several children for one process: set evaluators.kind to threads")
        experts, mutation = info.data.get("experts"), info.data.get("mutation")
        if experts is not None and not experts.are_low_rank:
            raise ValueError(
                "a server loads LoRA adapters alone: set experts.method to lora, set experts.truncation, or set "
                "engine.kind to vllm"
            )
        if mutation is not None and mutation.kind == "gaussian":
            raise ValueError("a child with Gaussian noise is no LoRA adapter: set engine.kind to vllm")
        return engine

    @field_validator("refinement")
    @classmethod
    def _reads_conversations(cls, refinement: RefinementConfig, info: ValidationInfo) -> RefinementConfig:
        model = info.data.get("model")
        if refinement.epochs and model is not None and model.kind != "chat":
            raise ValueError("refinement fine-tunes language models on conversations: set refinement.epochs to 0")
        return refinement

    @field_validator("search", "baselines")
    @classmethod
    def _are_made_of_low_rank_experts(cls, value: Any, info: ValidationInfo) -> Any:
        entries = value if isinstance(value, tuple) else (value,)
        wanted = any("regmean" in (getattr(one, "merge", ""), getattr(one, "method", "")) for one in entries)
        experts = info.data.get("experts")
        if wanted and experts is not None and not experts.are_low_rank:
            raise ValueError("regmean needs LoRA experts (experts.method: lora), or experts.truncation")
        model = info.data.get("model")
        if wanted and model is not None and model.kind == "segmentation":
            raise ValueError("regmean reads conversations, which experts of segmentation have none of; choose another")
        return value

    @field_validator("baselines")
    @classmethod
    def _have_something_to_read(
        cls, baselines: tuple[BaselineConfig, ...], info: ValidationInfo
    ) -> tuple[BaselineConfig, ...]:
        experts, skills = info.data.get("experts"), info.data.get("skills") or ()
        if experts is not None and any(baseline.method == "regmean" for baseline in baselines):
            for row in (skill.row for skill in skills):
                if row.kind == "benchmark" and experts.data_of(row.name) is None:
                    raise ValueError(f"regmean reads what each expert learned from: set experts.data.{row.name}")
        return baselines

    @field_validator("baselines")
    @classmethod
    def _differ(cls, baselines: tuple[BaselineConfig, ...]) -> tuple[BaselineConfig, ...]:
        labels = [baseline.label for baseline in baselines]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"{', '.join(twice)} is listed twice; give one entry all its scales")
        return baselines

    @field_validator("trackers")
    @classmethod
    def _track_different_things(cls, trackers: tuple[TrackerConfig, ...]) -> tuple[TrackerConfig, ...]:
        if len(set(map(repr, trackers))) != len(trackers):
            raise ValueError("a tracker is listed twice")
        return trackers

    @field_validator("comparison")
    @classmethod
    def _has_all_data(cls, comparison: ComparisonConfig, info: ValidationInfo) -> ComparisonConfig:
        experts, skills = info.data.get("experts"), info.data.get("skills")
        if not comparison.all_data or experts is None or skills is None:
            return comparison
        lacking = [skill.row.name for skill in skills if skill.row.kind == "benchmark"]
        if lacking := [name for name in lacking if experts.data_of(name) is None]:
            raise ValueError(
                f"all_data trains on the data of all skills: set experts.data.{lacking[0]}, or turn it off"
            )
        return comparison

    @field_validator("comparison")
    @classmethod
    def _makes_whom_the_search_names(cls, comparison: ComparisonConfig, info: ValidationInfo) -> ComparisonConfig:
        search = info.data.get("search")
        # All others that there may be are known to the preflight, which knows how a run calls them.
        if search is not None and search.named_individual == "all-data" and not comparison.all_data:
            raise ValueError("search.individual is all-data, which is made where comparison.all_data is true")
        return comparison

    @property
    def trained(self) -> tuple[str, ...]:
        """The skills whose experts are trained by the run, in their order; the others have a source."""
        return tuple(name for name in self.skill_names if self.experts.source_of(name) is None)

    @property
    def shows_images(self) -> bool:
        """Whether a language model is shown images."""
        return any(skill.row.sees for skill in self.skills)

    @property
    def uses_regmean(self) -> bool:
        """Whether the experts' shares of RegMean are made."""
        return self.search.merge == "regmean" or any(baseline.method == "regmean" for baseline in self.baselines)

    @property
    def skill_names(self) -> tuple[str, ...]:
        """The skills' names in records and keys, in the order of the cycle."""
        return tuple(skill.row.name for skill in self.skills)

    def counts(self, name: str) -> dict[Literal["train", "optimization", "test"], int | None]:
        """Samples per split of the skill `name`; None is all that a benchmark has."""
        return next(skill for skill in self.skills if skill.row.name == name).counts

    @property
    def blocks(self) -> int:
        """Blocks of optimization samples that every skill has; 1 where the split is not cut."""
        if self.search.block is None:
            return 1
        return min(count // self.search.block for skill in self.skills if (count := skill.counts["optimization"]))

    def to_yaml(self) -> str:
        """The whole configuration as YAML that `load_config` reads back to an equal one."""
        return write_yaml(self.model_dump(mode="json"))
