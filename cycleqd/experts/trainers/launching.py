"""The processes of a training: how they are started, and that none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

_WORKER: Final = "cycleqd.experts.trainers.worker"
_GRACE_SECONDS: Final = 5.0
"""For processes that were told to end, before they are killed."""
_SAID: Final = "said.txt"
_SHOWN: Final = 2000
"""Characters of what processes said last, for a message."""


class Processes:
    """The processes of a training, as a context: when it ends, they have ended.

    Their standard input is a pipe of ours, whose end they see also when this process is killed.

    Args:
        folder: The training's, which holds its assignment.
        count: How many there are.
        accelerate_config: File that `accelerate launch` starts them by; None starts them without it.
    """

    def __init__(self, folder: Path, count: int, accelerate_config: Path | None) -> None:
        self._said = folder / _SAID
        worker = ["-m", _WORKER, str(folder)]
        if accelerate_config is not None:
            launcher = ["-m", "accelerate.commands.launch", "--config_file", str(accelerate_config)]
            # Otherwise two trainings on one machine would meet at one port.
            launcher += ["--num_processes", str(count), "--main_process_port", "0"]
        elif count > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
            launcher += ["--nproc-per-node", str(count)]
        else:
            launcher = []
        with self._said.open("w") as said:
            self._process = subprocess.Popen(  # noqa: S603 -- ourselves
                [sys.executable, *launcher, *worker],
                env=_environment(count),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; they see that we end
            )

    @property
    def status(self) -> int | None:
        """The exit status, None while they run."""
        return self._process.poll()

    def said(self) -> str:
        """What they said last."""
        return self._said.read_text(errors="replace").strip()[-_SHOWN:]

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        everyone = [self._process_as_psutil()]
        with suppress(psutil.Error):
            # The launcher gives each a session of its own, so that no group holds them all.
            everyone += list(psutil.Process(self._process.pid).children(recursive=True))
        if self._process.stdin is not None:
            self._process.stdin.close()
        known = [process for process in everyone if process is not None]
        _, living = psutil.wait_procs(known, _GRACE_SECONDS)
        for process in living:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def _process_as_psutil(self) -> psutil.Process | None:
        try:
            return psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            return None


def _environment(count: int) -> dict[str, str]:
    environment = dict(os.environ)
    if count > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
        # All are on this machine, whatever its own name means in its network.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # As here: the package may lie in a checkout.
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    # The base is a folder; nobody is there to answer a question, or to read a bar.
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return environment | quiet
