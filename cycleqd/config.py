"""The configuration of one run: what a person writes in YAML, and the form that the Prefect UI shows.

`RunConfig` is frozen and refuses what it does not know. All faults of a file are reported at once, each with the
path of its field. Configuration stays at the edge: builders turn it into plain keyword arguments.
"""

from __future__ import annotations

import datetime
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails

from cycleqd.storage.urls import check_url, without_credentials

SkillName = Literal["coding", "os", "db", "mbpp_plus", "agentbench_db", "agentbench_os"]

GENERATED_COUNTS: dict[Literal["train", "optimization", "test"], int] = {"train": 160, "optimization": 24, "test": 60}
"""Samples per split of a generated suite whose configuration leaves them out."""
GENERATED_SKILLS = ("coding", "os", "db")
"""Skills whose samples are generated here; the others are benchmarks, which read a file."""

PROFILES = ("demo", "smol", "paper")
"""Names of the configurations that ship with the package (``cycleqd/profiles/<name>.yaml``)."""


class ConfigError(ValueError):
    """A configuration cannot be used; the text lists every fault with its field's path."""


def _number_the_fields(schema: dict[str, Any]) -> None:
    # A Prefect server on Postgres forgets the order of keys; its form goes by these numbers.
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Section(BaseModel):
    """Base of all configuration sections: immutable, and an unknown key is an error.

    A check of fields against each other belongs to the last of them, as its validator: a model's validators run only
    where every field is right by itself, and would keep their faults to themselves until then.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_extra=_number_the_fields,
    )


class ModelConfig(Section):
    """The base model that every expert starts from."""

    name: str = Field("smollm2-135m-instruct", min_length=1)
    """Embedded model name, local Hugging Face checkpoint directory, or Hugging Face hub id of a causal LM."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """What training and engine compute in. Merging is always fp32, rounded once. ``auto`` takes bfloat16 where the
    hardware has instructions for it and float32 elsewhere; a run keeps what it began with."""
    date: datetime.date = datetime.date(2026, 1, 1)
    """What chat templates are told that ask for today's date, so that prompts never depend on the day."""


class SkillConfig(Section):
    """One skill, how many samples each split has, and where a benchmark's samples come from."""

    name: SkillName
    """Which skill: ``coding``, ``os`` and ``db`` are generated suites, the others are published benchmarks."""
    train: Annotated[int, Field(ge=1)] | None = None
    """Samples whose gold episodes the expert is fine-tuned on: 160 unless given. A benchmark has none."""
    optimization: Annotated[int, Field(ge=1)] | None = None
    """Samples that score every child during the search. Unless given: 24, or all of a benchmark's half."""
    test: Annotated[int, Field(ge=1)] | None = None
    """Samples of the final report, which the search never sees. Unless given: 60, or all of a benchmark's half."""
    data: str | None = None
    """A benchmark's file or folder. Unless given: ``$CYCLEQD_DATA_DIR``, else a download."""
    prompt_file: str | None = None
    """A text to show in place of our instructions, for exact comparison; results say that it was used."""
    exclude: tuple[str, ...] = ()
    """Ids of a benchmark's samples to leave out; results list them as skipped."""
    exclude_file: str | None = None
    """More of them: a text file with one id a line, or the JSON that ``cycleqd audit`` wrote (its broken samples)."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Draws a benchmark's halves. Not the run's seed, so that runs with different seeds report on the same samples."""

    @field_validator("train")
    @classmethod
    def _is_trained_on(cls, train: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("name", GENERATED_SKILLS[0])
        if train is not None and name not in GENERATED_SKILLS:
            raise ValueError(f"{name} has no train split: its samples score, they are never trained on")
        return train

    @field_validator("data", "prompt_file", "exclude", "exclude_file", "split_seed")
    @classmethod
    def _is_a_benchmark(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name")
        if value and name in GENERATED_SKILLS:
            raise ValueError(f"{name} is generated and takes no {info.field_name}; benchmarks do")
        return value

    @property
    def counts(self) -> dict[Literal["train", "optimization", "test"], int | None]:
        """Samples per split; None is all that a benchmark has."""
        if self.name not in GENERATED_SKILLS:
            return {"train": 0, "optimization": self.optimization, "test": self.test}
        given = {"train": self.train, "optimization": self.optimization, "test": self.test}
        return {split: given[split] or count for split, count in GENERATED_COUNTS.items()}


RecipeName = Literal["agent_flan", "magicoder_evol", "magicoder_oss", "chat"]


class DataSourceConfig(Section):
    """One data set that an expert learns from."""

    recipe: RecipeName
    """How a row becomes a conversation; the table is `cycleqd.experts.data.recipes.RECIPES`."""
    path: Annotated[Annotated[str, Field(min_length=1)] | None, Field(validate_default=True)] = None
    """JSONL or Parquet file, folder of such files, or hub id. Unless given: the recipe's hub id."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Split of a hub data set. Unless given: the recipe's."""
    subset: Annotated[str, Field(min_length=1)] | None = None
    """Only rows of this part of the data set, e.g. ``os`` or ``db`` of Agent-FLAN."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """At most so many of the rows that are fit to train on, drawn by the run's seed. Unless given: all."""

    @field_validator("path")
    @classmethod
    def _can_be_found(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is None and info.data.get("recipe") == "chat":
            raise ValueError("recipe chat has no published data set: set path to a file or a hub id")
        return path

    @field_validator("subset")
    @classmethod
    def _has_subsets(cls, subset: str | None, info: ValidationInfo) -> str | None:
        recipe = info.data.get("recipe", "agent_flan")
        if subset is not None and recipe != "agent_flan":
            raise ValueError(f"the rows of {recipe} belong to no subset; only agent_flan's do")
        return subset


class DataConfig(Section):
    """What one skill's expert learns from, in place of the suite's own gold episodes."""

    sources: Annotated[tuple[DataSourceConfig, ...], Field(min_length=1)]
    """Data sets; their conversations are trained on together."""
    max_length: Annotated[int, Field(ge=16)] | None = None
    """Tokens per conversation; longer ones are left out and counted. Unless given: `experts.max_length`."""
    decontamination: Annotated[int, Field(ge=5)] | Literal[0] = 10
    """Conversations that share so many consecutive words with an evaluation sample are left out; 0 keeps them."""


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
    epochs_by_skill: dict[SkillName, Annotated[float, Field(gt=0)]] = {}
    """Passes for skills that want another number than `epochs`."""
    data: dict[SkillName, DataConfig] = {}
    """Training data of skills that do not learn from their own gold episodes; benchmarks have none of their own."""
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

    def max_length_of(self, skill: str) -> int:
        """Tokens of a skill's longest conversation."""
        own = {name: data.max_length for name, data in self.data.items()}.get(skill)  # type: ignore[call-overload]
        return own or self.max_length


class GridConfig(Section):
    """The archives' grids: each skill's score range, stretched and cut into bins."""

    bins: Annotated[int, Field(ge=1, le=100)] = 15
    """Bins per behaviour characteristic."""
    lower: Annotated[float, Field(ge=0)] = 0.85
    """Lower end of the range: this times the lowest score of any expert."""
    upper: Annotated[float, Field(gt=0, validate_default=True)] = 1.15
    """Upper end of the range: this times the highest score of any expert."""

    @field_validator("upper")
    @classmethod
    def _is_above_lower(cls, upper: float, info: ValidationInfo) -> float:
        lower = info.data.get("lower", 0.0)
        if lower >= upper:
            raise ValueError(f"lower must be below upper, got {lower} and {upper}")
        return upper


class SamplingConfig(Section):
    """How the two parents are drawn from the active archive."""

    kind: Literal["elite", "random"] = "elite"
    """``elite`` prefers high scores in all skills; ``random`` is the paper's ablation."""
    alpha_low: Annotated[float, Field(gt=0)] = 0.5
    """Weight of the worst score in the archive."""
    alpha_high: Annotated[float, Field(gt=0, validate_default=True)] = 0.8
    """Weight of the best score in the archive."""

    @field_validator("alpha_high")
    @classmethod
    def _is_above_alpha_low(cls, alpha_high: float, info: ValidationInfo) -> float:
        alpha_low = info.data.get("alpha_low", 0.0)
        if alpha_low > alpha_high:
            raise ValueError(f"alpha_low must not exceed alpha_high, got {alpha_low} and {alpha_high}")
        return alpha_high


class CrossoverConfig(Section):
    """Mixing of two parents' task vectors with normalised random coefficients."""

    mu: float = 1.0
    """Mean of the mixing coefficients."""
    sigma: Annotated[float, Field(ge=0, validate_default=True)] = 0.03
    """Standard deviation of the mixing coefficients."""

    @field_validator("sigma")
    @classmethod
    def _leaves_a_divisor(cls, sigma: float, info: ValidationInfo) -> float:
        if sigma == 0 and abs(2 * info.data.get("mu", 1.0)) < 1e-3:
            raise ValueError("mu 0 with sigma 0 leaves coefficients that sum to zero; raise mu or sigma")
        return sigma


class MutationConfig(Section):
    """Perturbation of a child after crossover."""

    kind: Literal["svd", "gaussian", "none"] = "svd"
    """``svd`` scales singular components; ``gaussian`` and ``none`` are the paper's ablations."""
    basis: Literal["child", "expert"] = "child"
    """Whose singular vectors: the child's own task vector's (paper) or the active skill's expert's (released code)."""
    w_max: Annotated[float, Field(ge=0)] = 0.3
    """Upper bound of the uniform scaling of singular values."""
    std: Annotated[float, Field(ge=0)] = 0.0003
    """Standard deviation of Gaussian mutation."""


class AggregationConfig(Section):
    """Folding of the archives' elites into the final model."""

    elites: Literal["quality", "balanced"] = "quality"
    """Whom an archive contributes. ``quality``: the best in its own skill (the paper's rule). ``balanced``: the one
    with the largest product of all skills' scores that no archive before it contributes; for short searches, where
    the best in a skill is its expert."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature over the elites' scores (fractions in [0, 1])."""


class EngineConfig(Section):
    """What generates the replies."""

    kind: Literal["auto", "vllm", "transformers"] = "auto"
    """``auto`` takes vLLM where it is installed, transformers otherwise."""
    batching: Literal["strict", "throughput"] = "strict"
    """``strict`` fixes what shares a batch, so scores repeat bit for bit; ``throughput`` lets all episodes mix."""
    max_model_len: Annotated[int, Field(ge=128)] = 1024
    """Longest conversation in tokens; an episode that outgrows it fails."""
    kv_cache_gb: Annotated[float, Field(gt=0)] = 2.0
    """Memory for attention keys and values on a CPU, in GiB."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Share of a GPU's memory that vLLM takes."""


class SandboxConfig(Section):
    """Limits of the containers in which models act."""

    max_containers: Annotated[int, Field(ge=1, le=1024)] = 128
    """Episode containers that are alive at a time, shared evenly by the skills; an idle one costs about 4 MB."""
    workers: Annotated[int, Field(ge=1, le=256)] = 4
    """Episodes of one evaluation that act at a time."""
    memory_mb: Annotated[int, Field(ge=64)] = 256
    """Memory of one container, in MiB."""
    pids: Annotated[int, Field(ge=16)] = 64
    """Processes in one container."""
    cpus: Annotated[float, Field(ge=0.01)] = 1.0
    """CPU cores of one container; the program runner and the database server get twice as many, no container more than
    the Docker engine has."""
    tmpfs_mb: Annotated[int, Field(ge=8)] = 64
    """Writable scratch space of one container, in MiB."""
    command_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time for one command or SQL statement, in seconds."""
    program_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Time for one program of ``coding``, in seconds; ``mbpp_plus`` has limits of its own."""
    output_bytes: Annotated[int, Field(ge=1024)] = 16_384
    """Output kept of one command."""


class TaskConfig(Section):
    """How Prefect treats an evaluation that meets an infrastructure fault."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Retries of an evaluation whose sandbox failed; a wrong answer is never retried."""
    retry_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Wait before the first retry; it doubles from one to the next."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """Longest time one evaluation may take."""


_USUAL_RECIPES = {
    "mbpp_plus": "magicoder_evol",
    "agentbench_os": "agent_flan, subset: os",
    "agentbench_db": "agent_flan, subset: db",
}
"""What the paper trained the benchmarks' experts on, for the error that asks for data."""


class RetentionConfig(Section):
    """Which individuals' weights a run keeps; recipes, scores and records are always kept."""

    policy: Literal["keep-all", "keep-elites", "keep-every-n"] = "keep-all"
    """``keep-elites`` keeps what an archive holds or the final model needs; ``keep-every-n`` also every n-th child."""
    every: Annotated[int, Field(ge=1)] = 10
    """The n of ``keep-every-n``."""
    episodes: bool = False
    """Whether the transcripts of an individual's episodes go with its weights."""


def _fault(where: tuple[int, ...], value: Any, text: str) -> InitErrorDetails:
    """One of several faults of a field; `where` inside it."""
    return InitErrorDetails(type="value_error", loc=where, input=value, ctx={"error": text})


class RunConfig(Section):
    """Everything that determines one CycleQD run."""

    # A storage URL that is refused because it holds credentials must not show them in the refusal.
    model_config = ConfigDict(hide_input_in_errors=True)

    run_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] = "demo"
    """Name of the run; its folder under `storage`. Starting the same run again continues it."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds every random draw together with the generation and the draw's purpose."""
    generations: Annotated[int, Field(ge=0)] = 42
    """Children to evolve."""
    storage: Annotated[str, AfterValidator(check_url)] = "runs"
    """Folder or fsspec URL that holds the runs; credentials come from the environment."""
    model: ModelConfig = ModelConfig()
    experts: ExpertConfig = ExpertConfig()  # ahead of `skills`, whose validator looks for their data
    skills: Annotated[tuple[SkillConfig, ...], Field(min_length=1)] = (
        SkillConfig(name="coding"),
        SkillConfig(name="os"),
        SkillConfig(name="db"),
    )
    """The skills; the cycle works on their archives in this order. A benchmark needs data under `experts`."""
    grid: GridConfig = GridConfig()
    sampling: SamplingConfig = SamplingConfig()
    crossover: CrossoverConfig = CrossoverConfig()
    mutation: MutationConfig = MutationConfig()
    aggregation: AggregationConfig = AggregationConfig()
    engine: EngineConfig = EngineConfig()
    sandbox: SandboxConfig = SandboxConfig()
    tasks: TaskConfig = TaskConfig()
    retention: RetentionConfig = RetentionConfig()

    @field_validator("skills")
    @classmethod
    def _differ_and_can_be_learned(
        cls, skills: tuple[SkillConfig, ...], info: ValidationInfo
    ) -> tuple[SkillConfig, ...]:
        names = [skill.name for skill in skills]
        faults: list[InitErrorDetails] = []
        if len(set(names)) != len(names):
            faults.append(_fault((), names, f"skills must differ, got {', '.join(names)}"))
        experts = info.data.get("experts")
        for position, name in enumerate(names):
            if experts is not None and name not in GENERATED_SKILLS and name not in experts.data:
                text = (
                    f"{name} is a benchmark and has no training data of its own: set experts.data.{name}, e.g. "
                    f"{{sources: [{{recipe: {_USUAL_RECIPES[name]}}}]}}"
                )
                faults.append(_fault((position,), name, text))
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return skills

    @property
    def skill_names(self) -> tuple[str, ...]:
        """The skills' names in the order of the cycle."""
        return tuple(skill.name for skill in self.skills)

    def counts(self, name: str) -> dict[Literal["train", "optimization", "test"], int | None]:
        """Samples per split of the skill `name`; None is all that a benchmark has."""
        return next(skill for skill in self.skills if skill.name == name).counts

    def to_yaml(self) -> str:
        """The whole configuration as YAML that `load_config` reads back to an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def parse_config(data: Any, *, source: str = "configuration") -> RunConfig:
    """Validates plain data.

    Raises:
        ConfigError: With one line per fault: the field's path, what is wrong, what came.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None


def load_config(name_or_path: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a shipped profile by name or a YAML file by path.

    Args:
        name_or_path: One of `PROFILES`, or a path.
        overrides: ``dotted.path=value`` pairs, the value in YAML; list items by number (``skills.0.train=8``).

    Raises:
        ConfigError: The file is missing, is no YAML mapping, or has faults; all of them are listed.
    """
    if name_or_path in PROFILES:
        text = resources.files("cycleqd").joinpath("profiles", f"{name_or_path}.yaml").read_text()
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(f"{name_or_path}: no such file, and no profile ({', '.join(PROFILES)})")
        text = path.read_text()
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{name_or_path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name_or_path}: expected a mapping at the top, got {type(data).__name__}")
    for override in overrides:
        _apply(data, override)
    return parse_config(data, source=name_or_path)


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    keys = path.split(".")
    if not equals or not all(re.fullmatch(r"\w+", key) for key in keys):
        raise ConfigError(f"override {override!r}: expected dotted.path=value")
    node: Any = data
    for key in keys[:-1]:
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                raise ConfigError(f"override {override!r}: no list item {key}")
            node = node[int(key)]
        else:
            node = node.setdefault(key, {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"override {override!r}: {key} has no fields")
    if isinstance(node, list):
        raise ConfigError(f"override {override!r}: name a field of the list item")
    node[keys[-1]] = yaml.safe_load(value)


def _explain(error: ValidationError, source: str) -> str:
    lines = [f"{source}: {error.error_count()} fault(s)"]
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "(whole)"
        lines.append(f"  {where}: {fault['msg']} (got {without_credentials(repr(fault['input'])):.80})")
    return "\n".join(lines)
