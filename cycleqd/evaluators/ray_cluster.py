"""Evaluators as actors of a Ray cluster.

Ray is asked directly, not through Prefect's task runner for it, as Dask is. Its actors keep their engines, but Ray has
no queue for whoever is free first: `Dispatch` has.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any, Final

import psutil

from cycleqd.evaluators.answers import answer, outcome_of, request
from cycleqd.evaluators.dispatch import Died, Dispatch
from cycleqd.evaluators.environment import of_imports, of_threads
from cycleqd.evaluators.job import Warm
from cycleqd.evaluators.protocol import Outcome, missing
from cycleqd.evaluators.reaching import reach
from cycleqd.machine.owner import current_owner, is_gone
from cycleqd.run.names import RunRef
from cycleqd.skills.parts import Part

_OBJECTS_BYTES: Final = 80 * 2**20
"""For what passes between processes, which is a little JSON; about the least that Ray takes."""
_STARTS: Final = 3
"""Attempts to start a local cluster: Ray gives each half a minute, which a busy machine may not keep."""
_PLACING_SECONDS: Final = 60.0
"""After which the log says that the cluster has no room for an evaluator."""
_CLOSING_SECONDS: Final = 20.0
"""For an evaluator to end what it plays and to remove its containers; then it is killed."""
_FOLDER: Final = "ray-"
"""How a local cluster's folder begins. Its name is short: a socket's path has at most 107 characters."""
_OWNER_FILE: Final = "cycleqd-owner"
"""In that folder, what names the process that started the cluster."""
_DYING_SECONDS: Final = 10.0
"""For killed processes to be gone; one that waits for a disk may take long."""

log = logging.getLogger(__name__)


class RayEvaluators:
    """One child at a time for each actor, which keeps its engine from child to child.

    A process is in one cluster at a time. Where this one is in a cluster already, no other is started.

    Args:
        run: The run, at a storage that every node sees.
        count: Actors, at least 1.
        threads: Threads that each engine computes with, at least 1.
        address: The cluster's, ``ray://host:10001`` or, on one of its nodes, ``host:6379``; None starts a local one
            that `close` ends.
        resources: What each actor takes of its node, e.g. ``{"GPU": 1}``. Ray shows it no other GPUs; without any, an
            actor of a cluster that was there before sees none.

    Raises:
        EvaluatorsMissing: The package ray is not installed.
        ConnectionError: No cluster answers at the address, or a local one does not start.
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
        environment = {"env_vars": of_threads(threads)}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address is None:
            _stay_on_this_machine()
            environment["env_vars"] |= of_imports()
        try:
            import ray
        except ImportError:
            raise missing("ray", "ray") from None
        self._ray: Any = ray
        self._run = run
        self._lock = threading.Lock()
        self._actors: dict[int, Any] = {}
        self._folder: Path | None = None
        self._options = _options(resources or {}) | {"runtime_env": environment}
        self._entered = not ray.is_initialized()
        if self._entered and address is None:
            self._folder = _start(ray, ceil(count * self._options.get("num_cpus", 1)), environment)
        elif self._entered and address is not None:
            _enter(ray, address, environment)
        advice = "mostly it is a lack of memory: lower evaluators.count or engine.kv_cache_gb"
        self._dispatch = Dispatch(run.run_id, "ray", count, self._score, advice=advice)

    def submit(self, individual: str, part: Part) -> Future[Outcome]:
        """See `Evaluators.submit`.

        Raises:
            RuntimeError: They are closed.
        """
        return self._dispatch.submit(individual, part)

    def close(self) -> None:
        """See `Evaluators.close`. Of a cluster that was there before, the actors end and the nodes stay."""
        if not self._dispatch.stop():
            return
        with self._lock:
            actors = list(self._actors.values())
        try:
            ending = [actor.close.remote() for actor in actors]
            if ending:
                self._ray.wait(ending, num_returns=len(ending), timeout=_CLOSING_SECONDS)
            for actor in actors:
                self._ray.kill(actor)
            self._dispatch.join()
        finally:
            started = _processes(self._folder) if self._folder is not None else ()
            if self._entered:
                self._ray.shutdown()
            if self._folder is not None:
                _clear(self._folder, started)

    def _score(self, place: int, individual: str, part: Part) -> Outcome:
        from ray.exceptions import RayError

        actor = self._living(place)
        try:
            answered = self._ray.get(actor.score.remote(request(self._run, individual, part)))
        except RayError as error:
            with self._lock:
                self._actors.pop(place, None)
            self._ray.kill(actor)  # it may only be out of reach
            raise Died(_first_line(error)) from error
        return outcome_of(answered)

    def _living(self, place: int) -> Any:
        with self._lock:
            self._dispatch.check_running()
            actor = self._actors.get(place)
            if actor is not None:
                return actor
            # Two threads: one scores, and the other is there to say stop.
            options = {"max_concurrency": 2, "max_restarts": 0, "scheduling_strategy": "SPREAD", **self._options}
            actor = self._actors[place] = self._ray.remote(**options)(_Actor).remote()
        if not self._ray.wait([actor.ready.remote()], timeout=_PLACING_SECONDS)[0]:
            log.warning(
                "run %s: the Ray cluster has had no room for an evaluator for %.0f s: set evaluators.resources or "
                "evaluators.count lower",
                self._run.run_id,
                _PLACING_SECONDS,
            )
        return actor


class _Actor:
    """Lives in a process of the cluster's."""

    def __init__(self) -> None:
        from ray.util import get_node_ip_address

        self._warm = Warm(f"ray {get_node_ip_address()}-{os.getpid()}")

    def ready(self) -> int:
        """Its process' id."""
        return os.getpid()

    def score(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return answer(self._warm, asked)

    def close(self) -> None:
        self._warm.close()


def _options(resources: Mapping[str, float]) -> dict[str, Any]:
    """The options of an actor that takes so much of its node."""
    named = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    own = {name: amount for name, amount in resources.items() if name not in named}
    return {named[name]: amount for name, amount in resources.items() if name in named} | {"resources": own}


def _stay_on_this_machine() -> None:
    """To be called before Ray is imported: a local cluster is then nobody else's."""
    # What Ray does where firewalls ask the user: all ports are on the loopback.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # What it is entered with. Where Ray finds none, it writes one below the home.
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _start(ray: Any, cpus: int, environment: Mapping[str, Any]) -> Path:
    """Starts a cluster of this machine; returns its folder.

    Raises:
        ConnectionError: It does not come up.
    """
    remove_orphaned_clusters()
    for attempt in range(1, _STARTS + 1):
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        (folder / _OWNER_FILE).write_text(current_owner())
        try:
            with _own_signals():
                ray.init(
                    "local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_OBJECTS_BYTES,
                    runtime_env=environment,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _temp_dir=str(folder),
                )
        except BaseException as error:
            started = _processes(folder)
            ray.shutdown()
            _clear(folder, started)
            if not isinstance(error, Exception):
                raise
            if attempt == _STARTS:
                raise ConnectionError(
                    f"the local Ray cluster does not start, at {attempt} attempts: {error}"
                ) from error
            log.warning("the local Ray cluster did not start (%s), and is started again", _first_line(error))
        else:
            break
    return folder


def remove_orphaned_clusters() -> None:
    """Removes the folders of local clusters whose process was killed; Ray's own processes ended with it."""
    for path in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*/{_OWNER_FILE}"):
        with suppress(OSError):  # another user's, or removed by another process
            if is_gone(path.read_text()):
                shutil.rmtree(path.parent, ignore_errors=True)


def _processes(folder: Path) -> list[psutil.Process]:
    """The processes of a cluster of this process, found while it runs.

    Some do not name its folder: agents and workers call themselves otherwise. Those that started them do.
    """
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # gone by itself
            if any(str(folder) in argument for argument in child.cmdline()):
                found += [child, *child.children(recursive=True)]
    return found


def _clear(folder: Path, started: Iterable[psutil.Process]) -> None:
    """Removes what is left of a cluster; of one that came up in part Ray itself knows nothing.

    Args:
        folder: Its folder.
        started: Its processes, as `_processes` found them.
    """
    left = [process for process in started if _is_alive(process)]
    for process in left:
        with suppress(psutil.Error):  # gone by itself
            process.kill()
    # Until it is gone, a killed process may still write into the folder, which then stays.
    deadline = time.monotonic() + _DYING_SECONDS
    while any(map(_is_alive, left)) and time.monotonic() < deadline:
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("the folder of the local Ray cluster could not be removed: %s", folder)


def _is_alive(process: psutil.Process) -> bool:
    """Whether it may still do something. It is not waited for: that is for whoever started it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _enter(ray: Any, address: str, environment: Mapping[str, Any]) -> None:
    """Connects this process to a cluster that is there."""
    reach("ray", address)  # Ray itself waits for many minutes, or for ever
    try:
        with _own_signals():
            ray.init(address, runtime_env=environment, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(f"evaluators.address: no Ray cluster answers at {address}: {error}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray handles SIGTERM from its start on; Prefect does already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
