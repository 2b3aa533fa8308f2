"""What only a long-lived Prefect server is used for: engines and sandboxes that runs queue for.

A run without a server (``make demo``) has nobody to share with and nobody to show things to, and skips all of it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings

from cycleqd.workspace import Workspace, opened

ENGINES = 1
"""Runs that may hold one engine at a time: it keeps one individual's weights."""

SANDBOXES = 256
"""Containers that all runs of a machine may have together, until someone sets another limit in the UI."""

LEASE_SECONDS = 60.0
"""A slot whose holder was killed is free again after this time."""

_held: ContextVar[bool] = ContextVar("machine_held", default=False)


def has_server() -> bool:
    """Whether this process talks to a Prefect server that outlives it."""
    return bool(get_current_settings().api.url)


def engine_limit() -> str:
    """Name of this process' engine among the server's concurrency limits: machine and visible GPUs."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return "-".join(["cycleqd-engine", _machine(), *([f"gpu{_plain(gpus)}"] if gpus else [])])


def sandbox_limit() -> str:
    """Name of this machine's sandboxes among the server's concurrency limits."""
    return f"cycleqd-sandboxes-{_machine()}"


@contextmanager
def machine_slots(containers: int) -> Iterator[None]:
    """Waits until this machine's engine and containers are free, and holds them; nested uses hold nothing more.

    The limits are made when the server does not know them: a missing one would let everybody pass.

    Args:
        containers: Containers that the run may have at a time.

    Raises:
        ValueError: The server's limit of containers was set lower than that, so the run would wait forever.
    """
    if _held.get() or not has_server():
        yield
        return
    log = get_run_logger()
    wanted = {engine_limit(): (ENGINES, 1), sandbox_limit(): (SANDBOXES, containers)}
    for name, (slots, occupied) in wanted.items():
        allowed = _ensure_limit(name, slots)
        if allowed < occupied:
            raise ValueError(
                f"sandbox.max_containers: the run wants {occupied} slots of {name}, but that limit is {allowed}; "
                "lower the setting, or raise the limit in the Prefect UI (Concurrency)"
            )
    with ExitStack() as stack:
        log.info("waiting for the engine and %d containers of %s", containers, _machine())
        for name, (_, occupied) in wanted.items():
            # A server that goes away for a while must not end a run that has its engine.
            stack.enter_context(
                concurrency(
                    name,
                    occupied,
                    strict=True,
                    lease_duration=LEASE_SECONDS,
                    raise_on_lease_renewal_failure=False,
                )
            )
        log.info("holding %s", ", ".join(wanted))
        token = _held.set(True)
        try:
            yield
        finally:
            _held.reset(token)


@contextmanager
def at_work(storage: str, run_id: str) -> Iterator[Workspace]:
    """The workspace of a run, with this machine's engine and containers held for it."""
    with opened(storage, run_id) as ws, machine_slots(ws.config.sandbox.max_containers):
        yield ws


def _ensure_limit(name: str, slots: int) -> int:
    """Makes the limit unless there is one; returns its slots, which a person may have changed."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name).limit
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another run was a moment faster
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
            return client.read_global_concurrency_limit_by_name(name).limit


def _machine() -> str:
    """This machine's name; ``CYCLEQD_MACHINE`` says it where the host name does not (in a container)."""
    return _plain(os.environ.get("CYCLEQD_MACHINE") or platform.node() or "localhost")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
