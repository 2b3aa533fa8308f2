"""The guest of a shell container, its first process: hands requests to a bash that lives across commands (`session`).

Requests: ``{"id", "do", ...}`` with

* ``do: "command"``, ``command``, ``seconds``, ``limit``, ``attached``, ``leave``: the agent's bash runs a command;
* ``do: "script"``, ``code``, ``language``, ``arguments``, ``directory``, ``seconds``, ``limit``, ``judge``,
  ``alone``, ``crowd``: a process of its own runs a script, ``alone`` while the others stay stopped;
* ``do: "seal"``: what the container is now is not the agent's doing.

Replies: ``{"id", "output", "exit_code", "timed_out", "truncated", "restarted", "changed"}``.

Being process 1, the guest survives ``kill -9 -1``, inherits and reaps every orphan, and ends everything else with one
call when time is up. It uses nothing that the agent could change: its modules are loaded before, and what a judge's
script runs is compared with the image (`trust`).
"""

from __future__ import annotations

import json
import os
import signal
import sys

from cycleqd.sandbox.guest.processes import HOME, READ_BYTES, end_everything
from cycleqd.sandbox.guest.session import Shell, reply

TYPE_CHECKING = False  # `typing` takes as long to load as all the rest
if TYPE_CHECKING:
    from typing import Any

NOBODY = 65_534


def answer(shell: Shell, request: dict[str, Any]) -> dict[str, Any]:
    """Does what a request asks for."""
    what = request.pop("do")
    try:
        if not request.pop("alone", False):
            shell.resume()
        if what == "command":
            return shell.command(**request)
        if what == "script":
            return shell.run_script(**request)
        shell.seal.renew()
        return reply(b"", 0, 0)
    except OSError as error:
        # No processes left to fork, no descriptors, or the like: clear the table and start again.
        end_everything()
        shell.restart(HOME)
        return reply(f"{error}\n".encode(), READ_BYTES, 1, restarted=True)
    finally:
        shell.pause()


def main(disk_bytes: int) -> None:
    """Serves requests until standard input ends."""
    # A process that changed its group can't be traced or read, not even by the model's root; and nobody's groups are
    # its three, so that nobody may change its limits.
    os.setegid(NOBODY)
    os.setresgid(0, 0, NOBODY)
    # As process 1 it is deaf to signals from inside, except those that Python handles.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests, replies = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    shell = Shell(disk_bytes)
    # Nothing is loaded any more: the agent may write to where modules lie.
    for finders in (sys.path, sys.meta_path, sys.path_hooks):
        finders.clear()
    shell.pause()
    while (line := shell.idle(requests)) is not None:
        request = json.loads(line)
        request_id = request.pop("id")
        data = memoryview(json.dumps({"id": request_id, **answer(shell, request)}).encode() + b"\n")
        while data:
            data = data[os.write(replies, data) :]
    sys.exit(0)
