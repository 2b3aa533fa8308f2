"""What is scored: the models of a run, a checkpoint, or an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

from cycleqd.baselines import choices
from cycleqd.config import EngineConfig, RunConfig, SandboxConfig, parse_config
from cycleqd.evaluation.fingerprint import engine_version
from cycleqd.evaluation.resources import find_base, start_engine
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.models.hardware import EngineKind, has_vllm, pinned, resolve_kind
from cycleqd.run.base_identity import BaseRecord, identify
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AGGREGATE, AVERAGE, BASE, expert_id
from cycleqd.run.store import RunStore
from cycleqd.task_vector import TaskVector

_TEXT: Final = frozenset({"generation", "code"})
_LIKELIHOODS: Final = frozenset({"likelihood"})

_KEPT: Final = frozenset({"kv_cache_gb", "gpu_memory_fraction", "max_batch", "compile"})
"""Settings of a run's engine that hold here, too. Its servers do not: they need not have room for long prompts."""
LONGEST: Final = 4096
"""Tokens of a prompt and its reply, unless the model or the user says less."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model.

    Attributes:
        name: Its row.
        genome: What its engine calls the weights.
        vector: Its task vector; None is the base itself.
    """

    name: str
    genome: str = BASE
    vector: Callable[[], TaskVector | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Group:
    """Models that one engine serves one after the other.

    Attributes:
        subjects: The models.
        start: Starts the engine, which serves the base.
        base: Row of the base that the others are measured by; empty where it is not known.
        identity: What scores depend on besides weights and problems.
        kinds: Kinds of benchmarks that the engine is for.
        config: Settings of the engine and of the sandboxes that grade code.
        model: Identity of the base's files; None for an endpoint.
        notes: What a reader should know of the models.
    """

    subjects: tuple[Subject, ...]
    start: Callable[[], Engine]
    base: str
    identity: dict[str, str]
    config: RunConfig
    kinds: frozenset[str]
    model: BaseRecord | None = None
    notes: tuple[str, ...] = ()


def of_run(store: RunStore, *, engine: str, max_model_len: int | None, prefix: str = "") -> list[Group]:
    """The base, the experts, their average, the best training-free merge and the final model, as far as they exist.

    Args:
        store: The run.
        engine: ``vllm``, ``transformers``, or ``auto`` (see `engines`).
        max_model_len: Longest prompt with its reply; None is what the model allows, at most `LONGEST`.
        prefix: In front of all names.
    """
    config = store.config()
    known = store.base()
    base = find_base(config, revision=known.revision if known else None)
    named = {"average": AVERAGE, "final": AGGREGATE}
    found = {f"{skill} expert": expert_id(skill) for skill in config.skill_names} | {"average": named["average"]}
    if merges := choices(store):
        best = max(merges, key=lambda choice: choice.mean).candidate.id
        found |= {f"best merge ({best})": best}
    found |= {"final": named["final"]}
    subjects = [Subject(f"{prefix}base")]
    missing = []
    for name, identifier in found.items():
        if store.has_individual(identifier):
            subjects.append(_individual(store, f"{prefix}{name}", identifier))
        else:
            missing.append(f"run {store.run_id} has no {name} yet")
    return _local(config, base, tuple(subjects), f"{prefix}base", engine, max_model_len, tuple(missing))


def _individual(store: RunStore, name: str, identifier: str) -> Subject:
    return Subject(name, store.individual(identifier).genome, lambda: task_vector(store, identifier))


def of_checkpoint(path: str, *, engine: str, max_model_len: int | None, name: str, base: str = "") -> list[Group]:
    """A checkpoint's folder.

    Args:
        path: The folder, or the name of the embedded model.
        engine: As for `of_run`.
        max_model_len: As for `of_run`.
        name: The model's row.
        base: Row of its base; empty where there is none.
    """
    config = parse_config({"run_id": "generalise", "model": {"name": path}}, source=path)
    return _local(config, find_base(config), (Subject(name),), base, engine, max_model_len, ())


def of_endpoint(url: str, model: str, *, name: str, base: str = "") -> list[Group]:
    """A model behind an OpenAI-compatible endpoint, which chats and nothing else.

    Raises:
        ValueError: The URL is none.
    """
    from cycleqd.models.causal_lm.endpoint import EndpointEngine

    engine = EndpointEngine(url, model)

    def start() -> Engine:
        engine.check()
        return engine

    config = parse_config({"run_id": "generalise"}, source="endpoint")
    identity = {"engine": "endpoint", "endpoint": engine.url}
    note = f"{name} only chats: what needs log-likelihoods is left out"
    group = Group((Subject(name, engine.loaded),), start, base, identity, _for_grading(config), _TEXT, notes=(note,))
    return [group]


def engines(engine: str) -> dict[str, frozenset[str]]:
    """Which engine is for which kinds of benchmarks.

    ``auto`` takes vLLM where it is installed, but on a CPU transformers for log-likelihoods: there vLLM computes every
    prompt whole, while transformers computes once what prompts begin with.
    """
    import torch

    if engine != "auto" or torch.cuda.is_available() or not has_vllm():
        return {resolve_kind(cast("EngineKind", engine)): _TEXT | _LIKELIHOODS}
    return {"transformers": _LIKELIHOODS, "vllm": _TEXT}


def _local(
    config: RunConfig,
    base: Path,
    subjects: tuple[Subject, ...],
    base_row: str,
    engine: str,
    max_model_len: int | None,
    notes: tuple[str, ...],
) -> list[Group]:
    length = max_model_len or min(LONGEST, _longest(base))
    model = identify(config.model.name, base)
    groups: list[Group] = []
    for name, kinds in engines(engine).items():
        settings = EngineConfig.model_validate(
            config.engine.model_dump(include={*_KEPT, *(["extra"] if name == "vllm" else [])})
            | {"kind": name, "max_model_len": length, "batching": "throughput"}
        )
        whole = pinned(_for_grading(config).model_copy(update={"engine": settings}))
        identity = {
            "engine": name,
            "engine_version": engine_version(name),
            "dtype": whole.model.dtype,
            "max_model_len": str(length),
            "base": model.base,
            "tokenizer": model.tokenizer,
        }
        start = partial(_start, whole, base)
        groups.append(Group(subjects, start, base_row, identity, whole, kinds, model, () if groups else notes))
    return groups


def _start(config: RunConfig, base: Path) -> Engine:
    # The engine that takes texts and images has no log-likelihoods.
    return start_engine(config, base, images=False)


def _for_grading(config: RunConfig) -> RunConfig:
    """Containers of a run of the same name must not be taken for this command's; their limits are the usual ones."""
    return config.model_copy(update={"run_id": f"{config.run_id}-generalise", "sandbox": SandboxConfig()})


def _longest(base: Path) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    config = getattr(config, "text_config", None) or config
    return int(getattr(config, "max_position_embeddings", None) or LONGEST)
