"""Who owns a container, a temporary folder or a child process: a process, named so that others can tell if it lives.

What a killed process leaves behind is removed by the next one that starts.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

RUN_LABEL = "cycleqd.run"
OWNER_LABEL = "cycleqd.machine.owner"
OWNER_VARIABLE = "CYCLEQD_OWNER"
"""In the environment of a run's children, Prefect's temporary server first of all."""
FOLDER_PREFIX = "cycleqd-"

log = logging.getLogger(__name__)


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
    if not _boot().startswith(boot):  # a folder's name has its beginning
        return True
    return namespace == _namespace() and _start_time(number) != start


def is_of_this_boot(owner: str) -> bool:
    """Whether the owner is, or was, a process of this machine since it was started."""
    return owner.split(":")[0] == _boot()


def temporary_folder() -> Path:
    """A new folder that `remove_orphaned_folders` removes when this process is gone; whoever asks removes it first."""
    boot, rest = current_owner().split(":", 1)
    # Its name stays short: a socket's path has at most 107 characters.
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{boot[:8]}_{rest.replace(':', '_')}-"))


def remove_orphaned_folders() -> None:
    """Removes the temporary folders of processes that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        match = re.fullmatch(rf"{FOLDER_PREFIX}([0-9a-f]+_\d+_\d+_\d+)-\w+", folder.name)
        if match and is_gone(match[1].replace("_", ":")):
            shutil.rmtree(folder, ignore_errors=True)


def mark_children() -> None:
    """Lets `end_orphans` know the processes that this one starts from now on."""
    os.environ[OWNER_VARIABLE] = current_owner()


def end_orphans() -> int:
    """Kills the processes whose owner is gone; returns how many.

    Only processes of this user are seen, and only those that were started after `mark_children`.
    """
    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # another user's, or gone by itself
            owner = process.environ().get(OWNER_VARIABLE, "")
            if owner and is_gone(owner):
                log.warning("ending process %d, which a killed run left behind", process.pid)
                process.kill()
                count += 1
    return count
