"""Settings that all tests share."""

import gc
import os
import sys
import uuid
from contextlib import ExitStack

# Before torch: its threads must sleep while they wait for each other, not spin. Where something else keeps a core
# busy, spinning makes two threads five times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests start many processes. Where a machine forbids to keep what was compiled, each would compile all imports anew,
# which takes half of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of the processes has a core. Small matrices took six times as long where four threads shared two.
    for library in ("OMP", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import pytest
from hypothesis import settings

sys.dont_write_bytecode = False

# A busy machine must not fail a property, and a failure must come back when the test is run again.
settings.register_profile("cycleqd", deadline=None, derandomize=True)
settings.load_profile("cycleqd")


GIGABYTES_EACH = 8
"""What a process of the tests and those that it starts hold at most: models, engines, servers, containers."""
LIVE = ("tests/deployments/test_live.py", "tests/browser/test_ui.py")
HARNESS = (
    *("tests/flows/", "tests/tasks/", "tests/deployments/test_schedules.py"),
    "tests/benchmarks/test_evaluators.py",
)
"""Where tests want `prefect_harness`."""
CAUSAL_LM = "tests/models/causal_lm/"
VLLM = (
    *(f"{CAUSAL_LM}test_{name}.py" for name in ("engines", "open_engine", "vllm", "vllm_weights", "vllm_families")),
    "tests/steps/test_training_memory.py",
)
"""Where tests start vLLM in their own process: the first start took 22 seconds of processor time there, the next 4."""


def pytest_addoption(parser):
    parser.addoption("--screenshots", action="store_true", help="renew docs/images from the browser tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """For ``-n auto``: one a core if memory allows. Two a core were no faster: what tests start fills the cores."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return max(1, min(len(os.sched_getaffinity(0)), memory // GIGABYTES_EACH))


def pytest_collection_modifyitems(items):
    """Lets files with slow tests begin, so that no process waits long for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if "prefect_harness" in item.fixturenames and not item.nodeid.startswith(HARNESS):
            raise pytest.UsageError(f"{item.nodeid} starts another server: move it to, or add it to, {HARNESS}")


def pytest_collection_finish():
    """Leaves what is there now, modules and tests, to itself: going through a million objects takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process plays all tests that want `live_prefect`, one all that want `prefect_harness`, and one all of vLLM.

    Starting them takes as long as many of the tests.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            scope = super()._split_scope(nodeid)
            if scope.startswith(HARNESS):
                return "harness"
            return next((name for name, files in (("live", LIVE), ("vllm", VLLM)) if scope in files), scope)

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _nobody_waits_for_the_disk():
    """A store forces every object to the disk, for the day that the power fails: what a test writes need not be there.

    Beside other work each object took 15 milliseconds, and a toy run has hundreds of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def memory_path(tmp_path):
    """As `tmp_path`, in memory where there is room: for what other processes write, which wait for the disk."""
    from tests.in_memory import temporary_folder

    with temporary_folder(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="session")
def prefect_harness():
    """A Prefect API of the tests' own, on a temporary database."""
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS,
        temporary_settings,
    )
    from prefect.testing import utilities

    from cycleqd.cli.playing import PREFECT_SETTINGS
    from tests.prefect_database import folder_for_the_harness

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(utilities, "mkdtemp", folder_for_the_harness)
            # As the server of `cycleqd run` has them: services lock its one SQLite file, for up to a minute.
            for name, value in PREFECT_SETTINGS.items():
                if name.startswith("PREFECT_SERVER_SERVICES_"):
                    patch.setenv(name, value)
            # Whoever waits for the engine asks again so soon.
            stack.enter_context(
                temporary_settings({PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS: 1.0})
            )
            stack.enter_context(utilities.prefect_test_harness(server_startup_timeout=600))
        # The end of every flow waits a second for the thread that sends them.
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        yield


@pytest.fixture(scope="session")
def live_prefect():
    """What `make up` starts, for the tests alone."""
    from tests.live_prefect import everything_up

    with everything_up() as live:
        yield live


@pytest.fixture
def no_figures():
    """Reports are written without pictures."""
    from tests.figures import without_figures

    with without_figures():
        yield


@pytest.fixture(scope="session")
def s3_port():
    """Port of an S3 server."""
    from tests.s3.server import moto_server

    with moto_server() as port:
        yield port


@pytest.fixture
def bucket(s3_port, monkeypatch):
    """The URL of an empty bucket, for which the environment is set."""
    from tests.s3.server import create_bucket, environment

    for name, value in environment(s3_port).items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    create_bucket(s3_port, name)
    return f"s3://{name}/runs"


@pytest.fixture(scope="session")
def tiny_tied(tmp_path_factory):
    """Checkpoint directory of a random Llama with tied embeddings."""
    from tests.tiny_models import save_tied

    path = tmp_path_factory.mktemp("models") / "tiny-tied"
    save_tied(path)
    return path


@pytest.fixture(scope="session")
def tiny_biased(tmp_path_factory):
    """Checkpoint directory, in several files, of a random Qwen2 with biased projections."""
    from tests.tiny_models import save_biased

    path = tmp_path_factory.mktemp("models") / "tiny-biased"
    save_biased(path)
    return path


@pytest.fixture(scope="session")
def smollm2():
    """Checkpoint directory of the embedded real model, converted once per machine."""
    from cycleqd.base_model import resolve_base
    from cycleqd.packed_models import EMBEDDED_MODEL
    from cycleqd.storage import cache_dir

    return resolve_base(EMBEDDED_MODEL, cache_dir())
