"""A bash session in a container of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from cycleqd.sandbox.channel import Channel
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

GRACE_SECONDS = 30.0
"""How much longer than the command's own limit the guest may take before it counts as stuck."""
COMMAND_CHARACTERS = 1_000_000
REFUSED_STATUS = 126

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What administering users, files and processes takes; root lacks everything else."""


class CommandResult(NamedTuple):
    """What a command did.

    Attributes:
        output: Standard output and error as they came, as UTF-8 (other bytes replaced), cut at the limit.
        exit_code: 0 to 255; 128 + the signal when bash itself was killed, 124 on time-out.
        timed_out: The time was up. Every process of the container was killed; bash was started again in the
            directory where it was, without its variables.
        truncated: There was more output than the limit.
        restarted: bash ended (`exit`, `exec`, killed, timed out): the next command runs in a fresh one. Files stay.
    """

    output: str
    exit_code: int
    timed_out: bool
    truncated: bool
    restarted: bool = False


class ShellSession:
    """One long-lived bash, as root of a container without network; a context manager.

    The working directory, variables and functions persist between commands. Background processes persist too;
    what they write appears in the output of later commands. For one thread at a time.
    """

    def __init__(self, channel: Channel, limits: Limits, remove: Callable[[], None]) -> None:
        self._channel = channel
        self._limits = limits
        self._remove = remove
        self._closed = False

    def run(self, command: str, *, timeout: float | None = None, fresh: bool = False) -> CommandResult:
        """Runs a command, which may be a script of many lines, and waits for it.

        Args:
            command: Any text: what is no valid bash is bash's error message and a status.
            timeout: Wall-clock seconds, positive; by default the limits'.
            fresh: In another bash, without the variables, functions and options of this one; processes stay.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        if self._closed:
            raise SandboxUnavailable("this shell session is closed")
        seconds = self._limits.command_seconds if timeout is None else timeout
        if len(command) > COMMAND_CHARACTERS:
            text = f"bash: command of {len(command)} characters is longer than {COMMAND_CHARACTERS}\n"
            return CommandResult(text, REFUSED_STATUS, timed_out=False, truncated=False)
        payload = {"command": command, "seconds": seconds, "limit": self._limits.output_bytes, "fresh": fresh}
        return CommandResult(**self._channel.request(payload, seconds=seconds + GRACE_SECONDS))

    def close(self) -> None:
        """Removes the container; idempotent."""
        if not self._closed:
            self._closed = True
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tmpfs(limits: Limits) -> dict[str, str]:
    """The in-memory file systems of a shell container: where most files go, with a size."""
    size = f"size={limits.tmpfs_mb}m,nosuid,nodev,exec"
    return {
        "/root": f"{size},mode=0700",
        "/home": f"{size},mode=0755",
        "/tmp": f"{size},mode=1777",  # noqa: S108 -- inside the container
        "/var/tmp": f"{size},mode=1777",  # noqa: S108 -- inside the container
        "/run": f"{size},mode=0755",
    }
