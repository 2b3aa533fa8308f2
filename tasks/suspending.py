"""A flow run whose parent is suspended is shown as paused, and not as one that still runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateDetails, StateType
from prefect.exceptions import Pause, PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run


@contextmanager
def paused_with_its_parent() -> Iterator[None]:
    """Marks this flow run as paused when the block ends because a flow run above it is suspended.

    Prefect leaves it Running, though its process ends, and takes it up again when the one above is resumed. It can be
    resumed as long as the one above. Where the server does not take the state, only that is lost.

    Raises:
        Pause: What the block raises.
    """
    try:
        yield
    except Pause as pause:
        try:
            _pause(pause.state)
        except (PrefectException, httpx.HTTPError) as error:
            get_run_logger().warning("it is not shown that this flow run is paused: %s", error)
        raise


def _pause(above: State | None) -> None:
    with get_client(sync_client=True) as client:
        own = client.read_flow_run(flow_run.id)
        if own.state is None or not own.state.is_running():
            return  # it is the one that was suspended
        details = StateDetails(pause_timeout=above.state_details.pause_timeout if above else None)
        message = "the flow run above it is suspended"
        state = State(type=StateType.PAUSED, name="Paused", message=message, state_details=details)
        client.set_flow_run_state(own.id, state, force=True)
