"""The server's concurrency limits that runs on one machine share: its engine and its containers."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

ENGINES = 1
"""Runs that may hold one engine at a time: it keeps one individual's weights."""

SANDBOXES = 256
"""Containers that all runs of a machine may have together, until someone sets another limit in the UI."""


def engine_limit() -> str:
    """Name of this process' engine among the server's concurrency limits: machine and visible GPUs."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return "-".join(["cycleqd-engine", machine(), *([f"gpu{_plain(gpus)}"] if gpus else [])])


def sandbox_limit() -> str:
    """Name of this machine's sandboxes among the server's concurrency limits."""
    return f"cycleqd-sandboxes-{machine()}"


def ensure_limit(name: str, slots: int) -> int:
    """Makes the limit unless there is one; returns its slots, which a person may have changed."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name).limit
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another run was a moment faster
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
            return client.read_global_concurrency_limit_by_name(name).limit


def machine() -> str:
    """This machine's name; ``CYCLEQD_MACHINE`` says it where the host name does not (in a container)."""
    return _plain(os.environ.get("CYCLEQD_MACHINE") or platform.node() or "localhost")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
