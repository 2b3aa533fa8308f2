"""Who owns a container: a process, named so that another process can tell whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path

RUN_LABEL = "cycleqd.run"
OWNER_LABEL = "cycleqd.owner"


def _boot() -> str:
    """Identifies the running kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    """Identifies the set of processes that this one can see, e.g. ``4026531836``."""
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process; None if there is no such process or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the command's name in brackets, may contain anything.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]


def current_owner() -> str:
    """The label of this process: ``<boot id>:<pid namespace>:<pid>:<start time>``."""
    return f"{_boot()}:{_namespace()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Whether the owner certainly no longer lives.

    False for an owner that can't be judged from here (one of another process namespace, such as a process in
    another container) and for a label of another form.
    """
    try:
        boot, namespace, pid, start = owner.split(":")
        number = int(pid)
    except ValueError:
        return False
    if boot != _boot():
        return True
    return namespace == _namespace() and _start_time(number) != start
