"""What only a long-lived Prefect server is used for: engines and sandboxes that runs queue for.

A run without a server (``make demo``) has nobody to share with and nobody to show things to, and skips all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from prefect.concurrency.sync import concurrency
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings

from tasks.limits import ENGINES, SANDBOXES, engine_limit, ensure_limit, machine, sandbox_limit
from tasks.queueing import waiting

LEASE_SECONDS = 240.0
"""A slot whose holder was killed is free again after this time.

Prefect renews a lease when a quarter of it is left. That quarter must outlast the slowest answer of a server on a
machine whose processors are busy: of 60 seconds it did not, and a second run got the engine.
"""

_held: ContextVar[bool] = ContextVar("machine_held", default=False)


def has_server() -> bool:
    """Whether this process talks to a Prefect server that outlives it."""
    return bool(get_current_settings().api.url)


@contextmanager
def machine_slots(containers: int, *, engine: bool = True) -> Iterator[None]:
    """Waits until this machine's engine and containers are free, and holds them; nested uses hold nothing more.

    Limits that the server does not know (registering makes those of its machine) are made: a missing one would let
    everybody pass.

    Args:
        containers: Containers that the run may have at a time.
        engine: Whether the run needs the engine, too.

    Raises:
        ValueError: The server's limit of containers was set lower than that, so the run would wait forever.
    """
    if _held.get() or not has_server():
        yield
        return
    log = get_run_logger()
    wanted = {sandbox_limit(): (SANDBOXES, containers)}
    if engine:  # first: who waits for it should keep no containers from others
        wanted = {engine_limit(): (ENGINES, 1), **wanted}
    for name, (slots, occupied) in wanted.items():
        allowed = ensure_limit(name, slots)
        if allowed < occupied:
            raise ValueError(
                f"sandbox.max_containers: {occupied} slots of {name} are wanted, but that limit is {allowed}; lower "
                "the setting (an audit has none), or raise the limit in the Prefect UI (Concurrency)"
            )
    with ExitStack() as stack:
        log.info("waiting for %s%d containers of %s", "the engine and " if engine else "", containers, machine())
        with waiting({name: occupied for name, (_, occupied) in wanted.items()}):
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
