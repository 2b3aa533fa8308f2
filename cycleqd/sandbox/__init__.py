"""Sandboxes: Docker containers in which models act.

Everything a model wrote runs here and nowhere else: without network, with few capabilities, within limits on
memory, processes, disk, time and output. Public: `Sandboxes` (the pool that owns every container of a run),
`ShellSession`, `ProgramRunner`, `DatabaseServer`, `Limits`, and the faults `SandboxUnavailable`.
"""
