"""Whether a cluster lets this machine in, asked by a process that can be ended: Ray may wait for ever."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Final
from urllib.parse import urlsplit

_SECONDS: Final = 120.0
"""For loading the libraries, too, on a machine that has other things to do."""
_PROGRAMS: Final = {
    "dask": """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=30) as client:
    print(len(client.scheduler_info(n_workers=-1)["workers"]), "worker(s)")
""",
    "ray": """
import logging, sys
import ray
ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()), "node(s)")
ray.shutdown()
""",
}
_TOKEN: Final = {"dask": "", "ray": ", and RAY_AUTH_MODE and RAY_AUTH_TOKEN as the cluster has them"}


def reach(kind: str, address: str, *, seconds: float = _SECONDS) -> str:
    """Enters a cluster and leaves it.

    Args:
        kind: ``dask`` or ``ray``; its package is installed.
        address: The cluster's.
        seconds: For an answer.

    Returns:
        What is there, e.g. ``3 worker(s)``.

    Raises:
        ConnectionError: Nobody answers, in time, or whoever answers does not let us in. The text names the setting.
    """
    where = f"evaluators.address: no {kind.capitalize()} cluster answers at {address}"
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        if place.hostname and place.port:  # at once, where nobody listens
            socket.create_connection((place.hostname, place.port), min(seconds, 30.0)).close()
        command = [sys.executable, "-c", _PROGRAMS[kind], address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)  # noqa: S603 # ours
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"{where} within {seconds:.0f} s: check the address{_TOKEN[kind]}") from None
    except (OSError, ValueError) as error:
        raise ConnectionError(f"{where}: {error}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConnectionError(f"{where}: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout.strip().splitlines()[-1]
