"""Sandboxes: Docker containers in which models act.

Everything a model wrote runs here and nowhere else: without network, with few capabilities, within limits on
memory, processes, disk, time and output. Public: `Sandboxes` (the pool that owns every container of a run),
`ShellSession`, `ProgramRunner`, `DatabaseServer`, `Limits`, and the faults `SandboxUnavailable`.
"""

from cycleqd.sandbox.database import Database, DatabaseServer, StatementResult, Table
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.images import image_tags
from cycleqd.sandbox.limits import Limits
from cycleqd.sandbox.pool import Sandboxes, reap
from cycleqd.sandbox.runner import CallOutcome, ProgramRunner
from cycleqd.sandbox.shell import CommandResult, ShellSession

__all__ = [
    "CallOutcome",
    "CommandResult",
    "Database",
    "DatabaseServer",
    "Limits",
    "ProgramRunner",
    "SandboxUnavailable",
    "Sandboxes",
    "ShellSession",
    "StatementResult",
    "Table",
    "image_tags",
    "reap",
]
