"""The fault that callers branch on."""

from __future__ import annotations

from cycleqd.faults import MendableFault


class SandboxUnavailable(MendableFault, RuntimeError):
    """Docker, a container or the server is at fault, not what a model wrote.

    The work is to be retried; it is never scored as a wrong answer. The text says what to do.
    """
