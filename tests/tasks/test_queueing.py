"""A flow run that has to wait for the machine says so, and for whom."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Event

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks import queueing
from tasks.server import machine_slots
from tests.live_prefect import wait_for

PATIENCE = 600


@pytest.fixture
def machine(monkeypatch):
    """A machine of its own, with its own limits."""
    monkeypatch.setenv("CYCLEQD_MACHINE", "queue")
    monkeypatch.setattr(queueing, "INTERVAL", 0.2)


def test_a_flow_run_that_waits_is_named_so_with_whom_it_waits_for_and_then_runs(prefect_harness, machine):
    holds, release, known = Event(), Event(), {}

    @flow(flow_run_name="first")
    def first():
        known["first"] = flow_run.id
        with machine_slots(1):
            holds.set()
            assert release.wait(PATIENCE)

    @flow(flow_run_name="inner")
    def inner():
        known["inner"] = flow_run.id
        with machine_slots(1):
            return [client.read_flow_run(known[name]).state.name for name in ("inner", "outer")]

    @flow(flow_run_name="outer")
    def outer():
        known["outer"] = flow_run.id
        return inner()

    with get_client(sync_client=True) as client, ThreadPoolExecutor() as pool:
        try:
            holder = pool.submit(copy_context().run, first)
            assert holds.wait(PATIENCE)
            waiter = pool.submit(copy_context().run, outer)  # a context says which server there is

            def shown():
                return [client.read_flow_run(known[name]).state for name in ("inner", "outer") if name in known]

            wait_for(lambda: waiter.done() or [state.name for state in shown()] == ["Waiting"] * 2, seconds=PATIENCE)
            assert {state.type.value for state in shown()} == {"RUNNING"}
            assert {state.message for state in shown()} == {"waits for cycleqd-engine-queue, held by 'first'"}
            client.update_flow_run(known["first"], name="another")
            changed = "waits for cycleqd-engine-queue, held by 'another'"
            wait_for(lambda: waiter.done() or {state.message for state in shown()} == {changed}, seconds=PATIENCE)
            assert not waiter.done()
        finally:
            release.set()
        assert waiter.result(PATIENCE) == ["Running", "Running"]
        holder.result(PATIENCE)
        assert {state.name for state in shown()} == {"Completed"}
        assert "holds:cycleqd-engine-queue" in client.read_flow_run(known["inner"]).tags
