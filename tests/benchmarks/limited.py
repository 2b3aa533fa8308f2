"""A process with a hard limit of memory, and the most that it held.

A control group of Linux counts what a process takes and ends it at the limit. Its own count includes the pages of
files that it reads and writes. The kernel gives those up when it needs them, so that they always grow to the limit.
The peak given here is of anonymous memory, which cannot be given up. It is sampled: a short peak may be missed, but
no process survives one above the limit.
"""

import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
INTERVAL = 0.02
"""Seconds between two looks."""


class Limited(NamedTuple):
    """How a process ended.

    Attributes:
        code: Its exit code; -9 where the limit ended it.
        peaks: Most bytes of anonymous memory, by the step that was under way.
        output: What it printed, the last lines.
    """

    code: int
    peaks: dict[str, int]
    output: list[str]


@contextmanager
def _group(limit: int) -> Iterator[tuple[Path, str]]:
    """A control group with a limit, and the name of anonymous memory in its statistics."""
    name = f"cycleqd-bench-{uuid.uuid4().hex[:8]}"
    if (ROOT / "memory").is_dir():
        folder, files, key = (
            ROOT / "memory" / name,
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            "total_rss",
        )
        values = (limit, limit)
    else:
        folder, files, key = ROOT / name, ("memory.max", "memory.swap.max"), "anon"
        values = (limit, 0)
    try:
        folder.mkdir()
        for file, value in zip(files, values, strict=True):
            if (folder / file).exists():
                (folder / file).write_text(str(value))
    except OSError as error:
        raise RuntimeError(f"a limit of memory needs Linux, root and control groups: {error}") from error
    try:
        yield folder, key
    finally:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def run_limited(command: Sequence[str], limit: int) -> Limited:
    """Runs a command that prints ``step NAME`` as its steps begin.

    Args:
        command: The program and its arguments.
        limit: Bytes.
    """
    with _group(limit) as (group, key):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        step, output, peaks = ["start"], [], {}

        def read() -> None:
            for line in process.stdout or ():
                if line.startswith("step "):
                    step[0] = line.removeprefix("step ").strip()
                else:
                    output.append(line.rstrip())

        reader = threading.Thread(target=read)
        reader.start()
        while process.poll() is None:
            now = _statistic(group, key)
            peaks[step[0]] = max(peaks.get(step[0], 0), now)
            time.sleep(INTERVAL)
        reader.join()
    return Limited(process.returncode, peaks, output[-20:])


def _statistic(group: Path, key: str) -> int:
    for line in (group / "memory.stat").read_text().splitlines():
        name, value = line.split()
        if name == key:
            return int(value)
    return 0
