"""Settings of what a run uses and keeps: the engine, the containers, Prefect's tasks, the weights on disk."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.section import Section

RetentionPolicy = Literal["keep-all", "keep-elites", "keep-every-n"]


_OURS: Final = frozenset(
    {"model", "tokenizer", "dtype", "max_model_len", "max_num_seqs", "seed", "trust_remote_code", "generation_config",
     "gpu_memory_utilization", "kv_cache_memory_bytes", "enforce_eager", "enable_prefix_caching", "enable_lora"}
)  # fmt: skip
"""Arguments of vLLM's that other settings decide on."""


class EngineConfig(Section):
    """What generates the replies."""

    kind: Literal["auto", "vllm", "transformers", "server"] = "auto"
    """``auto`` takes vLLM where it is installed, transformers otherwise. ``server`` is one or several vLLM servers
    that run already; children are loaded into them as LoRA adapters."""
    urls: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(validate_default=True)] = ()
    """The servers of ``server``, e.g. ``[http://localhost:8000/v1]``; a key comes from ``OPENAI_API_KEY``."""
    adapters: Annotated[str, Field(min_length=1)] | None = None
    """Folder for the children's adapters that ``server``'s servers see under the same path. Unless given: a temporary
    one of this machine."""
    batching: Annotated[Literal["strict", "throughput"], Field(validate_default=True)] = "strict"
    """``strict`` fixes what shares a batch, so scores repeat bit for bit; ``throughput`` lets all episodes mix."""
    max_model_len: Annotated[int, Field(ge=128)] = 1024
    """Longest conversation in tokens; an episode that outgrows it fails."""
    kv_cache_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory for attention keys and values, in GiB. Unless given: 2 on a CPU; on a GPU, what `gpu_memory_fraction`
    leaves. Give it where engines share a GPU: one that measures what is free counts what its neighbours take."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Share of a GPU's memory that vLLM takes."""
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 128
    """Most conversations that vLLM, or each server, generates for at a time."""
    compile: bool | None = None
    """Whether vLLM compiles the model, and on a GPU captures CUDA graphs: more tokens a second for a slower start.
    Unless given: on a GPU only."""
    extra: dict[str, Any] = {}  # noqa: RUF012 -- pydantic copies it
    """Further arguments for vLLM as they are, e.g. ``{quantization: fp8, swap_space: 8}``."""

    @field_validator("extra")
    @classmethod
    def _decides_on_nothing_else(cls, extra: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if ours := sorted(_OURS & extra.keys()):
            raise ValueError(f"{ours[0]} has a setting of its own, or is not free")
        if extra and info.data.get("kind", "auto") not in ("auto", "vllm"):
            raise ValueError("it is for vLLM in this process; a server is started with its own arguments")
        return extra

    @field_validator("urls")
    @classmethod
    def _are_a_servers(cls, urls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kind = info.data.get("kind", "auto")
        if kind == "server" and not urls:
            raise ValueError("engine.kind server needs servers, e.g. [http://localhost:8000/v1]")
        if kind != "server" and urls:
            raise ValueError("servers are for engine.kind server")
        if len(set(urls)) != len(urls):
            raise ValueError("a server is listed twice")
        return urls

    @field_validator("adapters")
    @classmethod
    def _is_a_servers(cls, adapters: str | None, info: ValidationInfo) -> str | None:
        if adapters and info.data.get("kind", "auto") != "server":
            raise ValueError("this folder is for engine.kind server")
        return adapters

    @field_validator("batching")
    @classmethod
    def _can_be_kept(cls, batching: str, info: ValidationInfo) -> str:
        if batching == "strict" and info.data.get("kind") == "server":
            raise ValueError("what shares a batch on a server is not known: set engine.batching to throughput")
        return batching


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


class RetentionConfig(Section):
    """Which individuals' weights a run keeps; recipes, scores and records are always kept."""

    policy: RetentionPolicy = "keep-all"
    """``keep-elites`` keeps what an archive holds or the final model needs; ``keep-every-n`` also every n-th child."""
    every: Annotated[int, Field(ge=1)] = 10
    """The n of ``keep-every-n``."""
    episodes: bool = False
    """Whether the transcripts of an individual's episodes go with its weights."""
