"""The configuration of one run: what a person writes in YAML, and the form that the Prefect UI shows.

`RunConfig` is frozen and refuses what it does not know. All faults of a file are reported at once, each with the
path of its field. Configuration stays at the edge: builders turn it into plain keyword arguments.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails

from cycleqd.config.files import PROFILES, ConfigError, explain, read_settings, write_yaml
from cycleqd.config.named import Named, NamedSection
from cycleqd.config.section import Section
from cycleqd.seams import AGGREGATIONS, CROSSOVERS, MERGE_METHODS, MUTATIONS, SAMPLERS, SEARCHES, SeamTable
from cycleqd.seams.operators import SCALED_MERGES
from cycleqd.storage.urls import check_url

__all__ = [
    "GENERATED_COUNTS",
    "GENERATED_SKILLS",
    "PROFILES",
    "ConfigError",
    "RunConfig",
    "Section",
    "load_config",
    "parse_config",
]

SkillName = Literal["coding", "os", "db", "mbpp_plus", "agentbench_db", "agentbench_os"]

GENERATED_COUNTS: dict[Literal["train", "optimization", "test"], int] = {"train": 160, "optimization": 24, "test": 60}
"""Samples per split of a generated suite whose configuration leaves them out."""
GENERATED_SKILLS = ("coding", "os", "db")
"""Skills whose samples are generated here; the others are benchmarks, which read a file."""
TURN_SKILLS = ("agentbench_db", "agentbench_os")
"""Benchmarks whose number of turns is a setting."""
RetentionPolicy = Literal["keep-all", "keep-elites", "keep-every-n"]


class ModelConfig(Section):
    """The base model that every expert starts from."""

    name: str = Field("smollm2-135m-instruct", min_length=1)
    """Embedded model name, local Hugging Face checkpoint directory, or Hugging Face hub id of a causal LM."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """Branch, tag or commit of a hub model. Unless given: its main branch at the first start, which a run keeps."""
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
    """More of them: a text file with one id a line, or the JSON that ``cycleqd audit`` wrote (broken and
    cheated samples)."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Draws a benchmark's halves. Not the run's seed, so that runs with different seeds report on the same samples."""
    max_turns: Annotated[int, Field(ge=1, le=100)] | None = None
    """Replies that a model may give to an AgentBench problem, the final answer included. Unless given: 5, as in the
    paper; AgentBench's own configurations allow 8 (``agentbench_os``) and 15 (``agentbench_db``)."""

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

    @field_validator("max_turns")
    @classmethod
    def _has_turns(cls, turns: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("name", TURN_SKILLS[0])
        if turns is not None and name not in TURN_SKILLS:
            raise ValueError(f"the turns of {name} are fixed; {' and '.join(TURN_SKILLS)} take another number")
        return turns

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
    epochs_by_skill: dict[SkillName, Annotated[float, Field(gt=0)]] = {}  # noqa: RUF012 -- pydantic copies it
    """Passes for skills that want another number than `epochs`."""
    data: dict[SkillName, DataConfig] = {}  # noqa: RUF012 -- as above
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


class SearchConfig(NamedSection):
    """What decides which child comes next."""

    TABLE: ClassVar[SeamTable] = SEARCHES
    COMPLETE: ClassVar[bool] = False
    ELSEWHERE: ClassVar[tuple[str, ...]] = (
        "start", "combination", "sampler", "crossover", "mutation", "aggregation", "elites",
    )  # fmt: skip

    kind: Annotated[str, Named(SEARCHES)] = "cycleqd"
    """``cycleqd`` is the paper's search and ``qd`` its ablation with one fixed quality at a time. The others search
    for the coefficients of a combination of the experts and use no operators: ``surrogate`` is ours, with archives and
    a model of the noise, the rest are the paper's baselines without archives. Installed packages may add names, and
    ``module:Class`` names a class that can be imported."""
    merge: Literal["linear", "tsv"] = "linear"
    """What coefficients combine: the experts as they are, or as TSV-Merge makes them orthogonal to each other."""
    block: Annotated[int, Field(ge=1)] | None = None
    """Optimization samples of a skill that a child meets, for searches that spend samples where they decide. Unless
    given: all of the split, as in the paper."""
    low: float = 0.0
    """Lower end of a coefficient's range, for searches over coefficients."""
    high: Annotated[float, Field(validate_default=True)] = 1.0
    """Upper end of a coefficient's range."""
    initial: Annotated[int, Field(ge=2)] = 8
    """Children that ``surrogate`` spreads evenly before its model has a say."""
    population: Annotated[int, Field(ge=2)] = 6
    """Children between two updates of ``cma_es`` and ``policy_gradient``; parents that ``nsga2`` keeps."""
    sigma: Annotated[float, Field(gt=0)] = 0.2
    """Standard deviation of the coefficients, of ``cma_es`` at its start and of ``policy_gradient`` throughout."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.5
    """Step of ``policy_gradient``, in units of `sigma`."""

    @field_validator("high")
    @classmethod
    def _is_above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low", 0.0)
        if low >= high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        return high


class ArchiveConfig(Section):
    """What the archives begin with."""

    seeds: Literal["experts", "experts+baselines"] = "experts"
    """``experts`` is the paper's. ``experts+baselines`` also offers each of `baselines` at its best scale, so that the
    search starts where merging without a search ends. The grids' ranges are the experts' either way."""


class SamplingConfig(NamedSection):
    """How the two parents are drawn from the active archive."""

    TABLE: ClassVar[SeamTable] = SAMPLERS

    kind: Annotated[str, Named(SAMPLERS)] = "elite"
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


class CrossoverConfig(NamedSection):
    """Mixing of two parents' task vectors with normalised random coefficients."""

    TABLE: ClassVar[SeamTable] = CROSSOVERS
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("seed",)  # drawn for each child

    kind: Annotated[str, Named(CROSSOVERS)] = "linear"
    """``linear`` is the paper's weighted mean; the others are merge methods with the same coefficients as weights."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on a merge method's result; ``linear`` has none."""
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

    @classmethod
    def table_of(cls, name: str) -> SeamTable:
        """A merge method's settings are those of the method."""
        return MERGE_METHODS if name in SCALED_MERGES else CROSSOVERS

    @property
    def merge(self) -> dict[str, Any]:
        """The merge method's settings; none for a crossover that is no merge method."""
        if self.kind not in SCALED_MERGES:
            return {}
        return {**MERGE_METHODS[self.kind].usual, **(self.__pydantic_extra__ or {}), "scale": self.scale}


class MutationConfig(NamedSection):
    """Perturbation of a child after crossover."""

    TABLE: ClassVar[SeamTable] = MUTATIONS

    kind: Annotated[str, Named(MUTATIONS)] = "svd"
    """``svd`` scales singular components; ``gaussian`` and ``none`` are the paper's ablations."""
    basis: Literal["child", "expert"] = "child"
    """Whose singular vectors: the child's own task vector's (paper) or the active skill's expert's (released code)."""
    w_max: Annotated[float, Field(ge=0)] = 0.3
    """Upper bound of the uniform scaling of singular values."""
    std: Annotated[float, Field(ge=0)] = 0.0003
    """Standard deviation of Gaussian mutation."""


class AggregationConfig(NamedSection):
    """Folding of the archives' elites into the final model."""

    TABLE: ClassVar[SeamTable] = AGGREGATIONS

    kind: Annotated[str, Named(AGGREGATIONS)] = "softmax"
    """How the elites are weighed: ``softmax`` of their scores is the paper's."""
    elites: Literal["quality", "balanced"] = "quality"
    """Whom an archive contributes. ``quality``: the best in its own skill (the paper's rule). ``balanced``: the one
    with the largest product of all skills' scores that no archive before it contributes; for short searches, where
    the best in a skill is its expert."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature over the elites' scores (fractions in [0, 1])."""


class BaselineConfig(NamedSection):
    """One merge of the experts without a search, which the report compares the final model with."""

    NAME: ClassVar[str] = "method"
    TABLE: ClassVar[SeamTable] = MERGE_METHODS
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("scale",)  # one of `scales` after the other

    method: Annotated[str, Named(MERGE_METHODS, without=("linear",))]
    """Which merge; the table is `cycleqd.seams.MERGE_METHODS`. The plain average is always compared."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.6, 0.8, 1.0)
    """Factors on the merge that are tried, each an evaluation; the best on the optimization split is compared."""
    flattening: Annotated[float, Field(ge=0, le=1)] | None = None
    """``iso_c``: how far singular values move to their mean, 1 all the way. Unless given: 0.5."""
    density: Annotated[float, Field(gt=0, le=1)] | None = None
    """``ties``, ``knots``: share of each expert's entries that stays. Unless given: 0.2."""
    drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """``dare``: share of each expert's entries that is dropped. Unless given: 0.5."""

    @field_validator("scales")
    @classmethod
    def _differ(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{scale:g}" for scale in scales}) != len(scales):
            raise ValueError(f"scales must differ in their first six digits, got {', '.join(map(str, scales))}")
        return scales

    @field_validator("flattening", "density", "drop")
    @classmethod
    def _belongs_to_the_method(cls, value: float | None, info: ValidationInfo) -> float | None:
        method = info.data.get("method", "")
        if value is not None and method in MERGE_METHODS and info.field_name not in MERGE_METHODS[method].usual:
            raise ValueError(f"{method} has no {info.field_name}")
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings but its scale."""
        given = {name: (getattr(self, name, None), usual) for name, usual in MERGE_METHODS[self.method].usual.items()}
        chosen = {name: usual if value is None else value for name, (value, usual) in given.items()}
        return {**chosen, **(self.__pydantic_extra__ or {})}

    @property
    def label(self) -> str:
        """Its name in ids and in the report: the method, and the settings that are not the usual ones."""
        usual = MERGE_METHODS[self.method].usual
        unusual = (
            f"-{name}-{value:g}" if isinstance(value, int | float) else f"-{name}-{value}"
            for name, value in self.settings.items()
            if value != usual.get(name)
        )
        return self.method.replace("_", "-") + "".join(unusual)


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

    policy: RetentionPolicy = "keep-all"
    """``keep-elites`` keeps what an archive holds or the final model needs; ``keep-every-n`` also every n-th child."""
    every: Annotated[int, Field(ge=1)] = 10
    """The n of ``keep-every-n``."""
    episodes: bool = False
    """Whether the transcripts of an individual's episodes go with its weights."""


def _fault(where: tuple[int | str, ...], value: Any, text: str) -> InitErrorDetails:
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
    # Ahead of `skills`, whose validator looks for their data and for the size of blocks.
    experts: ExpertConfig = ExpertConfig()
    search: SearchConfig = SearchConfig()
    skills: Annotated[tuple[SkillConfig, ...], Field(min_length=1)] = (
        SkillConfig(name="coding"),
        SkillConfig(name="os"),
        SkillConfig(name="db"),
    )
    """The skills; the cycle works on their archives in this order. A benchmark needs data under `experts`."""
    grid: GridConfig = GridConfig()
    archive: ArchiveConfig = ArchiveConfig()
    sampling: SamplingConfig = SamplingConfig()
    crossover: CrossoverConfig = CrossoverConfig()
    mutation: MutationConfig = MutationConfig()
    aggregation: AggregationConfig = AggregationConfig()
    baselines: tuple[BaselineConfig, ...] = (
        BaselineConfig(method="task_arithmetic", scales=(0.4, 0.6, 0.8)),
        BaselineConfig(method="tsv", scales=(0.7, 0.85, 1.0)),
        BaselineConfig(method="iso_c", scales=(0.6, 0.8, 1.0)),
    )
    """Merges of the experts without a search, for comparison; every scale costs as much as a generation."""
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
        experts, search = info.data.get("experts"), info.data.get("search")
        for position, skill in enumerate(skills):
            count = skill.counts["optimization"]
            if search is not None and search.block is not None and (count is None or count < search.block):
                text = f"search.block is {search.block}: say how many optimization samples there are, at least as many"
                faults.append(_fault((position, "optimization"), count, text))
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

    @field_validator("mutation")
    @classmethod
    def _can_be_crossed(cls, mutation: MutationConfig, info: ValidationInfo) -> MutationConfig:
        crossover = info.data.get("crossover")
        if mutation.kind == "gaussian" and crossover and crossover.kind not in ("linear", "task_arithmetic"):
            raise ValueError(f"crossover {crossover.kind} can't decompose vectors with Gaussian noise; choose another")
        return mutation

    @field_validator("baselines")
    @classmethod
    def _differ(cls, baselines: tuple[BaselineConfig, ...]) -> tuple[BaselineConfig, ...]:
        labels = [baseline.label for baseline in baselines]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice; give one entry all its scales")
        return baselines

    @property
    def skill_names(self) -> tuple[str, ...]:
        """The skills' names in the order of the cycle."""
        return tuple(skill.name for skill in self.skills)

    def counts(self, name: str) -> dict[Literal["train", "optimization", "test"], int | None]:
        """Samples per split of the skill `name`; None is all that a benchmark has."""
        return next(skill for skill in self.skills if skill.name == name).counts

    @property
    def blocks(self) -> int:
        """Blocks of optimization samples that every skill has; 1 where the split is not cut."""
        if self.search.block is None:
            return 1
        return min(count // self.search.block for skill in self.skills if (count := skill.counts["optimization"]))

    def to_yaml(self) -> str:
        """The whole configuration as YAML that `load_config` reads back to an equal one."""
        return write_yaml(self.model_dump(mode="json"))


def parse_config(data: Any, *, source: str = "configuration") -> RunConfig:
    """Validates plain data.

    Raises:
        ConfigError: With one line per fault: the field's path, what is wrong, what came.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, source)) from None


def load_config(name_or_path: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a shipped profile by name or a YAML file by path.

    Args:
        name_or_path: One of `PROFILES`, or a path.
        overrides: ``dotted.path=value`` pairs, the value in YAML; list items by number (``skills.0.train=8``).

    Raises:
        ConfigError: The file is missing, is no YAML mapping, or has faults; all of them are listed.
    """
    return parse_config(read_settings(name_or_path, overrides), source=name_or_path)
