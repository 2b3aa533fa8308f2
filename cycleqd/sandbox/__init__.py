"""Sandboxes: Docker containers in which models act.

Everything a model wrote runs here and nowhere else: without network, with few capabilities, within limits on
memory, processes, disk, time and output. Public: `Sandboxes` (the pool that owns every container of a run),
`NoSandboxes` (for runs whose skills act in none), `ShellSession`, `ProgramRunner`, `DatabaseServer` (and
`DatabaseServers`, which replaces one that died) and what they return, `Limits`, the fault `SandboxUnavailable`, `reap`
(removes what dead processes left), `image_tags` and `missing_images`.

A shell's root file system is writable (tasks administer users and `/etc`). What a model may write there is watched,
not enforced: its processes end when they are some tenths of a second past the limit. It all goes with the container.
Between commands a shell's processes are stopped. Whoever judges a shell runs scripts on the image's own programs, or
learns that the model replaced them (`ShellSession.judge`).
"""

from cycleqd.sandbox.database import (
    Database,
    DatabaseServer,
    DatabaseServers,
    StatementResult,
    Table,
    UnreadableTable,
)
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.images import image_tags
from cycleqd.sandbox.limits import Limits
from cycleqd.sandbox.none import NoSandboxes
from cycleqd.sandbox.pool import Sandboxes, missing_images, reap
from cycleqd.sandbox.runner import CallOutcome, ProgramRunner
from cycleqd.sandbox.shell import CommandResult, ShellSession

__all__ = [
    "CallOutcome",
    "CommandResult",
    "Database",
    "DatabaseServer",
    "DatabaseServers",
    "Limits",
    "NoSandboxes",
    "ProgramRunner",
    "SandboxUnavailable",
    "Sandboxes",
    "ShellSession",
    "StatementResult",
    "Table",
    "UnreadableTable",
    "image_tags",
    "missing_images",
    "reap",
]
