"""A flow run that waits for this machine says so: its state is named Waiting, and its message says for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Event, Thread
from typing import Final

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.states import Running

from tasks.family import family
from tasks.tags import tag_flow

WAITING: Final = "Waiting"
"""Name of the state, whose type stays Running: to Prefect the flow run has begun."""
INTERVAL = 20.0
"""Seconds between two looks at who holds the machine meanwhile."""


@contextmanager
def waiting(wanted: Mapping[str, int]) -> Iterator[None]:
    """Shows, for the time of the block, that this flow run and those above it wait, if it has to.

    Whom it waits for is told anew when that changes. After the block they are Running, and this one has a tag
    ``holds:<limit>`` for each limit. Where the server does not take a state or a tag, only that is lost.

    Args:
        wanted: Slots of the server's concurrency limits that the block waits for, by name.
    """
    with get_client(sync_client=True) as client:
        try:
            message = _message(client, wanted)
            shown = _name(client, Running(name=WAITING, message=message)) if message else False
        except (PrefectException, httpx.HTTPError) as error:
            get_run_logger().warning("it is not shown that this flow run waits: %s", error)
            message, shown = "", False
    over, teller = Event(), None
    if shown:
        # A context says which flow run this is.
        teller = Thread(target=copy_context().run, args=(_tell_changes, wanted, message, over), daemon=True)
        teller.start()
    try:
        yield
    finally:
        over.set()
    if teller is not None:
        teller.join()
        with get_client(sync_client=True) as client:
            try:
                _name(client, Running(), only=WAITING)
            except (PrefectException, httpx.HTTPError) as error:
                get_run_logger().warning("it is not shown that this flow run waits no more: %s", error)
    tag_flow(*map(_tag, wanted))


def _tell_changes(wanted: Mapping[str, int], told: str, over: Event) -> None:
    """Renews the message of those that wait until `over`; what cannot be told now is told the next time."""
    while not over.wait(INTERVAL):
        with get_client(sync_client=True) as client, suppress(PrefectException, httpx.HTTPError):
            message = _message(client, wanted)
            if message not in ("", told):
                _name(client, Running(name=WAITING, message=message), only=WAITING)
                told = message


def _full(client: SyncPrefectClient, wanted: Mapping[str, int]) -> list[str]:
    """The limits that have too few free slots now."""
    limits = {name: client.read_global_concurrency_limit_by_name(name) for name in wanted}
    return [name for name, limit in limits.items() if limit.active_slots + wanted[name] > limit.limit]


def _message(client: SyncPrefectClient, wanted: Mapping[str, int]) -> str:
    """For what and for whom is waited; empty where there is room."""
    full = _full(client, wanted)
    if not full:
        return ""
    holders = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {"state": {"type": {"any_": ["RUNNING"]}}, "tags": {"any_": [_tag(name) for name in full]}}
        )
    )
    known = ", ".join(sorted(f"{run.name!r}" for run in holders if run.state is None or run.state.name != WAITING))
    return f"waits for {' and '.join(full)}, held by {known or 'flow runs that are gone: free in some minutes'}"


def _name(client: SyncPrefectClient, state: State, *, only: str = "Running") -> bool:
    """Sets the state of this flow run and those above it that have the name `only`: no cancelled one is to go on."""
    changed = False
    for identifier in family(client):
        current = client.read_flow_run(identifier).state
        if current is not None and current.name == only:
            client.set_flow_run_state(identifier, state, force=True)
            changed = True
    return changed


def _tag(limit: str) -> str:
    return f"holds:{limit}"
