"""This machine talks to itself without a proxy."""

from __future__ import annotations

import ipaddress
import os
from typing import Final

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_VARIABLES: Final = ("NO_PROXY", "no_proxy")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exempt_loopback() -> None:
    """Takes this machine's own addresses out of the environment's proxies, for this process and those it starts.

    Prefect's server, its clients and a local object store listen there; with ``HTTP_PROXY`` set, requests to them
    would go to the proxy, which cannot reach them.
    """
    for variable in _VARIABLES:
        # Where only one of the spellings is set, the other must not hide it.
        listed = os.environ.get(variable) or next(
            (os.environ[other] for other in _VARIABLES if other in os.environ), ""
        )
        names = [name.strip() for name in listed.split(",") if name.strip()]
        if "*" not in names:
            names += [name for name in LOOPBACK if name not in names]
        os.environ[variable] = ",".join(names)
