"""A flow run below a suspended one is shown as paused."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Suspended

from tasks.suspending import paused_with_its_parent


def test_the_runs_below_a_suspended_one_are_paused_for_as_long_and_keep_the_pause(prefect_harness):
    known, suspended = {}, Suspended(timeout_seconds=600)

    @flow
    def inner():
        known["inner"] = flow_run.id
        with paused_with_its_parent():
            raise Pause(state=suspended)  # as Prefect does at the next task after somebody suspended `outer`

    @flow
    def outer():
        known["outer"] = flow_run.id
        with get_client(sync_client=True) as client, paused_with_its_parent():
            client.set_flow_run_state(known["outer"], suspended, force=True)
            inner()

    with pytest.raises(Pause):
        outer()
    with get_client(sync_client=True) as client:
        above, below = (client.read_flow_run(known[name]).state for name in ("outer", "inner"))
    assert above.name == "Suspended"
    assert (below.name, below.is_paused()) == ("Paused", True)
    assert (
        below.state_details.pause_timeout == above.state_details.pause_timeout == suspended.state_details.pause_timeout
    )


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_other_endings_change_no_state(prefect_harness, ending):
    known = {}

    @flow
    def inner():
        known["inner"] = flow_run.id
        with paused_with_its_parent():
            if ending:
                raise ending
        return 1

    if ending is None:
        assert inner() == 1
    else:
        with pytest.raises(ending):
            inner()
    with get_client(sync_client=True) as client:
        assert not client.read_flow_run(known["inner"]).state.is_paused()
