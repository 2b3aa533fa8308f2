"""Starts everything on one machine and ends it again: ``make up``, ``make down``.

    python -m infra.up          database, object store, Prefect server, deployments, worker; prints the UI's address
    python -m infra.up --down   ends what it started, and nothing else

State, logs and pid files are kept in ``.cycleqd/`` (or ``CYCLEQD_STATE``). Both may be repeated.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import httpx

from cycleqd.machine.loopback import exempt_loopback
from deployments.settings import HEARTBEAT_SECONDS, HOME
from infra import object_store, postgres
from infra.services import Service, refuse_anothers_port, remove_unused_temporary_folders, temporary_folder

PORT = int(os.environ.get("CYCLEQD_PORT", "4200"))
"""The server's; PostgreSQL takes the next one, the object store the one after that."""

QUERY_SECONDS = 2
"""Seconds between two times that the worker asks for flow runs, unless the environment says
``PREFECT_WORKER_QUERY_SECONDS``. With Prefect's ten a run that somebody starts in the UI does nothing for as long."""

LONGEST_WAIT = 5
"""Seconds, about, until a run that queues asks for the engine again. With Prefect's 30 it stood idle for as long."""

RUNS_AT_A_TIME = 4
"""Flow runs that are started, unless the work pool has a limit already; those that want the same engine queue for it.

Not the worker's ``--limit``: with it Prefect 3.7's worker ends when a run is retried whose process still ends.
"""


def main() -> None:
    """Starts, or with ``--down`` ends, all services."""
    state = Path(os.environ.get("CYCLEQD_STATE") or HOME / ".cycleqd").resolve()
    if "--down" in sys.argv[1:]:
        down(state)
        return
    try:
        up(state)
    except RuntimeError as error:
        sys.exit(f"make up: {error}")


def up(state: Path) -> None:
    """Starts what does not run yet.

    Raises:
        RuntimeError: Something did not come up, or its port is another's.
    """
    exempt_loopback()
    state.mkdir(parents=True, exist_ok=True)
    server = Service("prefect-server", state)
    refuse_anothers_port(server, PORT)
    refuse_anothers_port(Service(postgres.NAME, state), PORT + 1)
    database = _database(state)
    url = f"http://127.0.0.1:{PORT}"
    # What the server and its clients read; the user's own Prefect profile is left alone.
    client = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "CYCLEQD_HOME": str(HOME),
    }
    settings = {
        "PREFECT_SERVER_UI_API_URL": "/api",  # the UI then works behind any address
        # In memory, a server that is killed forgets who holds which slot, and nobody ever gives it back.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": str(LONGEST_WAIT),
        **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    started = server.start(command, env=client | settings, folder=HOME)
    server.wait_until(lambda: _answers(f"{url}/api/health"), seconds=180)
    print(f"Prefect server {'started' if started else 'runs'}, on {'PostgreSQL' if database else 'SQLite'}")
    subprocess.run([sys.executable, "-m", "deployments.register"], cwd=HOME, env={**os.environ, **client}, check=True)
    _limit_pool(f"{url}/api/work_pools/cycleqd-process")
    store = _object_store(state)
    worker = Service("worker", state)
    # A running worker keeps its folder; a new one must not be made for nothing.
    started = worker.process() is None and worker.start(
        [
            *(sys.executable, "-m", "prefect", "worker", "start"),
            *("--pool", "cycleqd-process", "--name", "cycleqd"),
        ],
        env=client
        | store
        | {
            "TMPDIR": str(temporary_folder()),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS") or str(QUERY_SECONDS),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "cycleqd",
        },
        folder=HOME,
    )
    print(f"worker {'started' if started else 'runs'}")
    print(f"logs: {server.log.parent}")
    print(f"UI: {url}")


def down(state: Path) -> None:
    """Ends the services, those that need others first."""
    for name in ("worker", "prefect-server", object_store.NAME, postgres.NAME):
        if Service(name, state).stop():
            print(f"{name} ended")
    remove_unused_temporary_folders()


def _limit_pool(address: str) -> None:
    """Gives the work pool its limit where it has none."""
    if httpx.get(address).raise_for_status().json()["concurrency_limit"] is None:
        httpx.patch(address, json={"concurrency_limit": RUNS_AT_A_TIME}).raise_for_status()


def _database(state: Path) -> str | None:
    """The URL of the private PostgreSQL; None, with a message, where the server must do with SQLite."""
    try:
        return postgres.start(state, PORT + 1)
    except (RuntimeError, OSError, KeyError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        print(f"no PostgreSQL, so the server keeps its data in SQLite, which suits one run at a time: {detail}")
        return None


def _object_store(state: Path) -> dict[str, str]:
    """Starts the object store and says what of it; returns what the worker needs to use it."""
    if object_store.own_account(PORT + 2):
        print("runs are kept in runs/; with storage: s3://..., in the object store of AWS_* or ~/.aws")
        return {}
    try:
        store = object_store.start(state, PORT + 2, HOME)
    except (RuntimeError, OSError) as error:
        print(f"no object store, runs are kept in runs/: {error}")
        return {}
    print(f"object store: {store.program}; a shell that wants it: . {store.settings}")
    print(f"runs are kept in runs/; with storage: s3://{object_store.BUCKET}/runs, in the object store")
    if not store.lasting:
        print("WARNING: this object store is for trying out. It keeps everything in memory, and `make down` loses it.")
    return store.environment


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
