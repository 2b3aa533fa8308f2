"""What a container may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one container (a program runner and a database server scale them, see there).

    Attributes:
        memory_mb: Memory in MiB, swap included; at least 32.
        pids: Processes and threads, at least 8.
        cpus: Processor time per wall-clock time; at least 0.01 (Docker's own bound), 1.0 is one core. No container
            gets more cores than Docker has.
        tmpfs_mb: Size in MiB of each in-memory file system, and of any single file; at least 1.
        disk_mb: What a shell's container may write outside the in-memory file systems, in MiB; at least 1. It is
            watched, not enforced: a fast writer may have some tenths of a second's worth more.
        output_bytes: What is kept of a command's output; at least 1.
        command_seconds: Default wall-clock time of a command or SQL statement; positive.
        program_seconds: Default wall-clock time of a program with all its calls; positive.
        sql_rows: Rows kept of a statement's result; at least 1.
        sql_bytes: Bytes (of values as text) kept of a statement's result; at least 1.
    """

    memory_mb: int = 256
    pids: int = 64
    cpus: float = 1.0
    tmpfs_mb: int = 64
    disk_mb: int = 256
    output_bytes: int = 16_384
    command_seconds: float = 10.0
    program_seconds: float = 5.0
    sql_rows: int = 1_000
    sql_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        least = {
            "memory_mb": 32,
            "pids": 8,
            "cpus": 0.01,
            "tmpfs_mb": 1,
            "disk_mb": 1,
            "output_bytes": 1,
            "sql_rows": 1,
            "sql_bytes": 1,
        }
        faults = [f"{name} must be at least {low}, got {getattr(self, name)}" for name, low in least.items()
                  if getattr(self, name) < low]  # fmt: skip
        faults += [
            f"{name} must be positive, got {getattr(self, name)}"
            for name in ("command_seconds", "program_seconds")
            if not getattr(self, name) > 0
        ]
        if faults:
            raise ValueError("limits: " + "; ".join(faults))
