"""Settings of what a run uses and keeps: the engine, the containers, Prefect's tasks, the weights on disk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cycleqd.config.section import Section

RetentionPolicy = Literal["keep-all", "keep-elites", "keep-every-n"]


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


class RetentionConfig(Section):
    """Which individuals' weights a run keeps; recipes, scores and records are always kept."""

    policy: RetentionPolicy = "keep-all"
    """``keep-elites`` keeps what an archive holds or the final model needs; ``keep-every-n`` also every n-th child."""
    every: Annotated[int, Field(ge=1)] = 10
    """The n of ``keep-every-n``."""
    episodes: bool = False
    """Whether the transcripts of an individual's episodes go with its weights."""
