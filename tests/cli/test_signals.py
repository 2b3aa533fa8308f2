"""SIGTERM at a run with its temporary Prefect server; the flow is a real one that only waits.

Ctrl-C is tried at a whole run: tests/flows/test_interrupt.py.
"""

import os
import signal
import sys
from contextlib import suppress

import pytest

from tests.live_prefect import ROOT, wait_for
from tests.prefect_database import used_home
from tests.processes import processes_with, started_apart

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, time, types
from contextlib import nullcontext
from pathlib import Path

import cycleqd.cli.start as start
import cycleqd.preflight.checks

cycleqd.preflight.checks.check = lambda config: []
start._admitted = lambda config, *, rescore: nullcontext()
place = Path(sys.argv.pop())
made = types.ModuleType("flows.main")
sys.modules["flows.main"] = made


def cycleqd_run(config):
    from prefect import flow

    @flow
    def inner():
        (place / "inside").touch()
        time.sleep(600)

    @flow
    def outer():
        try:
            inner()
        finally:
            (place / "orderly").touch()

    outer()


made.cycleqd_run = cycleqd_run
from cycleqd.cli import app

app()
"""

WAYS = {
    "kill": (signal.SIGTERM, os.kill, 143, "Terminated"),
    "the end of a service": (signal.SIGTERM, os.killpg, 143, "Terminated"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_asked_to_end_does_so_in_order_and_leaves_no_server(tmp_path, way):
    number, send, code, word = WAYS[way]
    home = used_home(tmp_path / "prefect")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, "run", "demo", str(tmp_path)]
    process = started_apart(command, log, cwd=ROOT, env=inherited | {"PREFECT_HOME": home})
    try:
        wait_for(lambda: process.poll() is not None or (tmp_path / "inside").exists(), seconds=900)
        assert process.poll() is None, log.read_text()
        assert len(processes_with("PREFECT_HOME", home)) > 1  # among them the temporary Prefect server
        send(process.pid, number)
        process.wait(timeout=600)
        assert process.returncode == code, log.read_text()
        assert f"{word}. What was finished is kept" in log.read_text()
        assert (tmp_path / "orderly").exists()
        wait_for(lambda: not processes_with("PREFECT_HOME", home), seconds=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
