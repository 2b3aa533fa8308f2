"""What `make up` starts, with state, ports and runs of the tests' own; and a run so small that it takes seconds."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient

from tests.in_memory import folder_in_memory

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class LivePrefect:
    url: str
    folder: Path
    environment: dict

    def client(self):
        return SyncPrefectClient(f"{self.url}/api")

    def up(self, *options):
        command = [sys.executable, "-m", "infra.up", *options]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def configuration(self, run_id, **changes):
        return small_configuration(self.folder, run_id, **changes)

    def start(self, deployment, parameters):
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def state(self, flow_run):
        with self.client() as client:
            return client.read_flow_run(flow_run).state

    def logs(self, flow_run):
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        with self.client() as client:
            wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run]))
            return "\n".join(entry.message for entry in client.read_logs(wanted))


SMALLEST = {
    "skills": [{"name": name, "train": 2, "optimization": 1, "test": 1} for name in ("coding", "os", "db")],
    "baselines": [],
    "comparison": {"elites": False},
}
"""Changes of `small_configuration` for tests that look at the way of a run and not at its scores."""


def small_configuration(folder, run_id, **changes):
    """A whole run in about twenty seconds: the model is random, so that it solves nothing and trains at once.

    Most of the time goes into containers: every sample of `os` has one of its own.
    """
    model = folder / "model"
    if not model.exists():
        from tests.tiny_models import save_tied

        save_tied(model, max_position_embeddings=2048)  # one token a character makes long prompts
    return {
        "run_id": run_id,
        "storage": str(folder / "runs"),
        "generations": 1,
        "model": {"name": str(model), "dtype": "float32"},
        "engine": {"kind": "transformers", "max_model_len": 2048},
        "skills": [{"name": name, "train": 2, "optimization": 2, "test": 1} for name in ("coding", "os", "db")],
        "baselines": [{"method": "tsv", "scales": [1.0]}],
        "experts": {"rank": 2, "global_batch": 2, "micro_batch": 2, "max_length": 2048, "at_a_time": 2},
    } | changes


def wait_for(what, *, seconds, every=0.3):
    """The first true answer of `what`."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(every)
    return answer


@contextmanager
def everything_up():
    folder = Path(tempfile.mkdtemp(prefix="cycleqd-live-", dir=folder_in_memory()))
    folder.chmod(0o711)  # PostgreSQL runs as a user of its own and must reach its folder
    port = free_ports()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))},
        "CYCLEQD_STATE": str(folder / "state"),
        "CYCLEQD_PORT": str(port),
        "CYCLEQD_MACHINE": "tests",
    }
    live = LivePrefect(f"http://127.0.0.1:{port}", folder, environment)
    try:
        live.up()
        yield live
    finally:
        live.up("--down")
        shutil.rmtree(folder, ignore_errors=True)


def free_ports():
    """A port that is free together with the next two."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            # Below those that the kernel gives to whoever connects: they are bound one after the other, much later.
            port = random.randrange(20_000, 30_000)  # noqa: S311 - no secret
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port
