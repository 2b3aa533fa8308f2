"""Ctrl-C in the terminal of `cycleqd run`."""

import os
import signal
import sys
import time
from contextlib import suppress

import docker
import pytest
import yaml

from tests.live_prefect import ROOT, SMALLEST, small_configuration, wait_for
from tests.prefect_database import used_home
from tests.processes import processes_with, started_apart

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STOP_SECONDS = 60  # seven on an idle machine
STATES = {
    "evolution": ({"generations": 10_000}, "generation 1 of 10000"),
    "training": ({"experts": {"epochs": 2000}}, "experts.progress - "),
    "training in processes": (
        {"experts": {"epochs": 2000, "trainer": {"kind": "transformers"}}},
        "experts.progress - ",
    ),
    "vLLM starts": ({"engine": {"kind": "vllm", "kv_cache_gb": 0.1}}, "Beginning subflow run 'seed-archives"),
}
"""What the configuration has for a run to be in a state for long, and what the log says then."""


@pytest.mark.vllm
@pytest.mark.parametrize(("changes", "said"), STATES.values(), ids=STATES)
def test_it_ends_soon_and_leaves_no_container_no_process_and_no_lease(memory_path, changes, said):
    config = memory_path / "config.yaml"
    values = small_configuration(memory_path, "interrupted", **SMALLEST)
    for section, settings in changes.items():
        values[section] = values[section] | settings if isinstance(settings, dict) else settings
    config.write_text(yaml.safe_dump(values))
    home = used_home(memory_path / "prefect")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-c", "from cycleqd.cli import app; app()", "run", str(config)]
    environment = inherited | {"PREFECT_HOME": home}
    process = started_apart(command, memory_path / "log", cwd=ROOT, env=environment)
    run = memory_path / "runs" / "interrupted"
    try:
        log = memory_path / "log"
        wait_for(lambda: process.poll() is not None or said in log.read_text(), seconds=900)
        assert process.poll() is None, log.read_text()
        time.sleep(2)  # well into it: vLLM takes ten seconds to start
        assert len(processes_with("PREFECT_HOME", home)) > 1  # among them the temporary Prefect server
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the run
        process.wait(timeout=2 * STOP_SECONDS)
        assert time.monotonic() - began < STOP_SECONDS
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "What was finished is kept" in (memory_path / "log").read_text()
    assert not (run / "lease.json").exists()
    label = {"label": "cycleqd.run=interrupted"}
    wait_for(lambda: not docker.from_env().containers.list(all=True, filters=label, ignore_removed=True), seconds=120)
    wait_for(lambda: not processes_with("PREFECT_HOME", home), seconds=120)
