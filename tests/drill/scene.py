"""Where a trial of the drill plays: its storage, its folders, the processes of its run."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH

from cycleqd.run.lease import current_lease
from cycleqd.run.store import RunStore
from cycleqd.storage import StoreError
from infra.services import Service
from tests.live_prefect import LivePrefect, free_ports
from tests.processes import processes_with

ROOT = Path(__file__).parents[2]
RUN = "drill"
MARK = "CYCLEQD_DRILL"
"""In the environment of every process of a trial, so that survivors are found."""
PATIENCE = 420
"""Seconds until a life that does not end counts as hanging."""
_CLI = [sys.executable, "-c", "from cycleqd.cli import app; app()"]


@dataclass
class Scene:
    """One trial: a run that is started again and again until it is finished.

    Attributes:
        folder: Everything of the trial but its storage.
        storage: Folder or URL that holds the run.
        settings: The run's configuration without its storage.
        extra: Environment of its processes beside this one's.
        lives: How often it was started.
        gate: The way to its object store, where it has one.
        disk: The small disk that it lies on, where it does.
    """

    folder: Path
    storage: str
    settings: dict
    extra: dict = field(default_factory=dict)
    lives: int = 0
    gate: "Gate | None" = None
    disk: Path | None = None

    def __post_init__(self):
        self.token = uuid.uuid4().hex
        self.run_id = self.settings["run_id"]
        # High up: sockets lie in it, and their paths are limited.
        self.temporary = self.folder.parent / f"t-{self.token[:6]}"
        for folder in (self.temporary, self.folder / "logs", self.folder / "prefect"):
            folder.mkdir(parents=True, exist_ok=True)
        self._log_events()

    def _log_events(self):
        """Has the run's processes write their events into a file: a pipe to a killed worker tells nothing."""
        settings = yaml.safe_load(DEFAULT_LOGGING_SETTINGS_PATH.read_text())
        settings["formatters"]["event"] = {"format": "%(message)s"}
        settings["handlers"]["events"] = {
            "class": "logging.FileHandler",
            "filename": str(self.events),
            "formatter": "event",
            "delay": True,
            "level": 0,
        }
        settings["loggers"]["cycleqd.telemetry.events"] = {"level": "INFO", "handlers": ["events"]}
        self._logging.write_text(yaml.safe_dump(settings))

    @property
    def events(self):
        """The file that all lives of the run tell their events in."""
        return self.folder / "events.log"

    @property
    def _logging(self):
        return self.folder / "logging.yml"

    def told(self, begin=0):
        """The text of the events from a position of the file on; the position of its end."""
        text = self.events.read_bytes()[begin:] if self.events.exists() else b""
        return text.decode(errors="replace"), begin + len(text)

    @property
    def store(self):
        return RunStore(self.storage, self.run_id, cache=self.folder / "looking")

    @property
    def environment(self):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return (
            inherited
            | {
                MARK: self.token,
                "TMPDIR": str(self.temporary),
                "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PREFECT_LOGGING_SETTINGS_PATH": str(self._logging),
            }
            | self.extra
        )

    def configuration(self):
        return self.settings | {"storage": self.storage}

    def start(self):
        """A new life of the run."""
        self.lives += 1
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.configuration()))
        log = self.folder / "logs" / f"{self.lives:02d}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*_CLI, "run", str(path)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Life(process, log)

    def survivors(self):
        """Processes of the trial that still live."""
        return processes_with(MARK, self.token)

    def end_survivors(self):
        for process in self.survivors():
            with suppress(psutil.Error):
                process.kill()


@dataclass
class Life:
    """One process of the run, from its start to its end."""

    process: subprocess.Popen
    log: Path

    @property
    def pid(self):
        return self.process.pid

    def wait(self, seconds):
        """Waits for the end; returns whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)
        return self.process.returncode is not None

    @property
    def finished(self):
        return self.process.returncode == 0

    def text(self):
        return self.log.read_text(errors="replace")


class ServedScene(Scene):
    """The same with a Prefect server and a worker, as `make up` starts them."""

    def __post_init__(self):
        super().__post_init__()
        port = free_ports()
        self.extra = self.extra | {
            "CYCLEQD_STATE": str(self.folder / "state"),
            "CYCLEQD_PORT": str(port),
            "CYCLEQD_MACHINE": f"drill-{self.token[:8]}",
        }
        self.live = LivePrefect(f"http://127.0.0.1:{port}", self.folder, self.environment)
        self.flow_runs = []

    @property
    def worker_log(self):
        return self.folder / "state" / "logs" / "worker.log"

    def up(self):
        self.live.up()

    def down(self):
        self.live.up("--down")

    def start(self):
        self.lives += 1
        begin = self.worker_log.stat().st_size if self.worker_log.exists() else 0
        flow_run = self.live.start("cycleqd/cycleqd", {"config": self.configuration()})
        self.flow_runs.append(flow_run)
        return ServedLife(self, flow_run, begin)

    def service(self, name):
        """The process of a service: ``worker`` or ``prefect-server``."""
        return Service(name, self.folder / "state").process()


@dataclass
class ServedLife:
    """A flow run on the server. It has ended when the server says so, or when its process is gone."""

    scene: ServedScene
    flow_run: uuid.UUID
    begin: int
    _finished: bool = False

    @property
    def pid(self):
        """The process that works on the run; None before it has begun and after it has ended."""
        with suppress(StoreError, OSError):
            lease = current_lease(self.scene.store)
            return lease.pid if lease else None
        return None

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        gone_since = None
        while time.monotonic() < deadline:
            state = self._state()
            if state is not None and state.is_final():
                self._finished = state.is_completed()
                return True
            # Nobody tells a server about a process that was killed together with its worker, or that a killed worker
            # was about to start.
            if state is not None and (state.is_running() or state.is_pending()) and self.pid is None:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > (20 if state.is_running() else 70):
                    return True
            else:
                gone_since = None
            time.sleep(0.5)
        return False

    @property
    def finished(self):
        return self._finished

    def _state(self):
        try:
            return self.scene.live.state(self.flow_run)
        except Exception:  # the server is down at times
            return None

    def text(self):
        return self.scene.worker_log.read_text(errors="replace")[self.begin :]


@contextmanager
def small_disk(folder, megabytes):
    """A file system of its own in `folder`; root only."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "drill", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Gate:
    """The way to an object store: a proxy in a process of its own that can be killed, and opened again."""

    def __init__(self, target):
        self.target, self.port = target, free_ports()
        self._process = None
        self.open()

    def open(self):
        command = [sys.executable, "-m", "tests.drill.gate", str(self.target), str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
        self._process.stdout.readline()

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
