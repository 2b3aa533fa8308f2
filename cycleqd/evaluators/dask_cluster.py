"""Evaluators as workers of a Dask cluster.

Dask is asked directly, not through Prefect's task runner for it: below one Prefect task in the coordinator nothing
needs a Prefect server, so workers do not start one each.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final

from cycleqd.evaluation.rounds import EvaluationStopped
from cycleqd.evaluators.environment import of_threads
from cycleqd.evaluators.job import Warm
from cycleqd.evaluators.protocol import ATTEMPTS, EvaluatorLost, Outcome, missing
from cycleqd.run.names import RunRef
from cycleqd.skills.parts import Part

_PLUGIN: Final = "cycleqd-evaluator"
_ENGINE: Final = "CYCLEQD_ENGINE"
"""What a worker of a local cluster has one of."""
_CONNECT_SECONDS: Final = 60


class DaskEvaluators:
    """One child at a time for each worker, which keeps its engine from child to child.

    Args:
        run: The run, at a storage that every worker sees.
        count: Children that are scored at a time, at least 1; of a local cluster, its workers.
        threads: Threads that each engine of a local cluster computes with, at least 1.
        address: The scheduler's, e.g. ``tcp://host:8786``; None starts a local cluster that `close` ends.
        resources: What each child takes of its worker, e.g. ``{"GPU": 1}``. A worker that names none plays as many
            children as it has threads; its engine takes them one after the other.

    Raises:
        EvaluatorsMissing: The package distributed is not installed.
        ConnectionError: No scheduler answers at the address.
    """

    def __init__(
        self,
        run: RunRef,
        *,
        count: int,
        threads: int,
        address: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        try:
            from dask import config
            from distributed import Client, LocalCluster
        except ImportError:
            raise missing("distributed", "dask") from None
        self._run = run
        self._numbers = itertools.count()
        self._resources = dict(resources or {})
        self._cluster: Any = None
        self._waiting: set[Future[Outcome]] = set()
        # For a local cluster, whose scheduler is in this process; another one has its own number.
        config.set({"distributed.scheduler.allowed-failures": ATTEMPTS - 1})
        if address is None:
            self._resources = {_ENGINE: 1}
            self._cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                resources=self._resources,
                dashboard_address=None,
                env=of_threads(threads),
            )
        try:
            place = address or self._cluster.scheduler_address
            try:
                self._client: Any = Client(place, timeout=_CONNECT_SECONDS)
            except OSError as error:
                raise ConnectionError(f"evaluators.address: no Dask scheduler answers at {place}: {error}") from error
            self._client.register_plugin(_warm_plugin(), name=_PLUGIN)
        except BaseException:
            if self._cluster is not None:
                self._cluster.close()
            raise

    def submit(self, individual: str, part: Part) -> Future[Outcome]:
        """See `Evaluators.submit`."""
        # A key of its own: whoever is scored twice was changed in between, and an answer of last time is none.
        key = f"cycleqd-{self._run.run_id}-{individual}-{part}-{next(self._numbers)}"
        found = self._client.submit(
            _score, self._run, individual, part, key=key, pure=False, resources=self._resources or None
        )
        answer: Future[Outcome] = Future()
        answer.set_running_or_notify_cancel()
        self._waiting.add(answer)
        answer.add_done_callback(self._waiting.discard)
        found.add_done_callback(lambda done: _settle(answer, individual, done))
        return answer

    def close(self) -> None:
        """See `Evaluators.close`. The engines of a cluster that was there before are freed, its workers stay."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.unregister_worker_plugin(_PLUGIN)
        finally:
            client.close()
            if self._cluster is not None:
                self._cluster.close()
            for answer in list(self._waiting):  # Dask tells nobody of a future whose client is gone
                with suppress(InvalidStateError):  # it was told at this moment
                    answer.set_exception(EvaluationStopped("the run is being stopped"))


def _warm_plugin() -> Any:
    """A plugin of the workers' that holds one evaluator each; made here, for its base class is Dask's."""
    from distributed import WorkerPlugin

    class Engine(WorkerPlugin):  # type: ignore[misc] # Dask is untyped here
        name = _PLUGIN

        def setup(self, worker: Any) -> None:
            self.warm = Warm(f"dask {worker.address}")

        def teardown(self, worker: Any) -> None:
            self.warm.close()

    return Engine()


def _score(run: RunRef, individual: str, part: Part) -> Outcome:
    """Runs in a worker."""
    from distributed import get_worker

    warm: Warm = get_worker().plugins[_PLUGIN].warm
    return warm.score(run, individual, part)


def _settle(answer: Future[Outcome], individual: str, done: Any) -> None:
    """Passes on what became of a child."""
    from distributed import KilledWorker

    if answer.done():
        return
    if done.cancelled():
        answer.set_exception(EvaluatorLost(f"Dask gave {individual} up: the cluster is closed, or was restarted"))
        return
    fault = done.exception()
    if isinstance(fault, KilledWorker):
        answer.set_exception(
            EvaluatorLost(
                f"{ATTEMPTS} evaluators died while they scored {individual}; mostly it is a lack of memory: lower "
                f"evaluators.count or engine.kv_cache_gb ({fault})"
            )
        )
    elif fault is not None:
        answer.set_exception(fault)
    else:
        answer.set_result(done.result())
