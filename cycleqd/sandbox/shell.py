"""A bash session in a container of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Self

from cycleqd.sandbox.channel import GUEST_DIRECTORY, Channel
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

GRACE_SECONDS = 30.0
"""How much longer than the command's own limit the guest may take before it counts as stuck."""
COMMAND_CHARACTERS = 1_000_000
REFUSED_STATUS = 126
SCRIPT_SECONDS = 60.0
"""For a script of its own: much more than a command has, for a loaded machine must not turn right answers wrong."""
SCRIPT_OUTPUT_BYTES = 4 * 1024 * 1024
CROWD = 0.75
"""The share of the process limit from which on the agent's processes are ended before a script runs."""

MODULES = ("trust", "disk", "processes", "session", "shell")
"""Of the guest, each after those that it imports."""
HIDDEN = (
    *("/proc/1/fdinfo", "/proc/1/map_files", "/proc/1/ns", "/proc/1/task/1/fdinfo", "/proc/1/task/1/ns"),
    *("/proc/1/oom_adj", "/proc/1/oom_score_adj", "/proc/1/task/1/oom_adj", "/proc/1/task/1/oom_score_adj"),
)
"""What can't be read of the guest, so that ``find /`` would fail; and what would make the kernel end it first."""
CAPABILITIES = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What administering users, files and processes takes (`sudo` writes to the audit log); root lacks everything else."""


class CommandResult(NamedTuple):
    """What a command did.

    Attributes:
        output: Standard output and error as they came, as UTF-8 (other bytes replaced), cut at the limit.
        exit_code: 0 to 255; 128 + the signal when bash itself was killed, 124 on time-out; never 0 when bash ended.
        timed_out: The time was up. Every process of the container was killed; bash was started again in the
            directory where it was, without its variables.
        truncated: There was more output than the limit.
        restarted: bash ended (`exit`, `exec`, killed, timed out): the next command runs in a fresh one. Files stay.
        changed: Of a judging script: what the agent changed that the script would have used, so that it says nothing.
    """

    output: str
    exit_code: int
    timed_out: bool
    truncated: bool
    restarted: bool = False
    changed: str = ""


class ShellSession:
    """One long-lived bash, as root of a container without network; a context manager.

    The working directory, variables and functions persist between commands. Background processes persist too, stopped
    between requests; what they write appears in the output of later commands. For one thread at a time.

    Scripts run beside that bash and know nothing of it. First `script` sets the container up, then `seal` says that it
    is the agent's from now on, `run` is for the agent, and `judge` for whoever looks at the result.
    """

    def __init__(self, channel: Channel, limits: Limits, remove: Callable[[], None]) -> None:
        self._channel = channel
        self._limits = limits
        self._remove = remove
        self._closed = False

    def run(
        self, command: str, *, timeout: float | None = None, attached: bool = False, leave: bool = False
    ) -> CommandResult:
        """Runs a command, which may be a script of many lines, and waits for it.

        Args:
            command: Any text: what is no valid bash is bash's error message and a status.
            timeout: Wall-clock seconds, positive; by default the limits'.
            attached: What it starts may read bash's own input: after ``su - bob`` the next commands are bob's.
            leave: When its time is up it is not ended but goes on in its bash; the next command has a fresh one.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        seconds = self._limits.command_seconds if timeout is None else timeout
        if len(command) > COMMAND_CHARACTERS:
            text = f"bash: command of {len(command)} characters is longer than {COMMAND_CHARACTERS}\n"
            return CommandResult(text, REFUSED_STATUS, timed_out=False, truncated=False)
        payload = {
            "command": command,
            "seconds": seconds,
            "limit": self._limits.output_bytes,
            "attached": attached,
            "leave": leave,
        }
        return self._request("command", payload, seconds)

    def script(
        self,
        code: str,
        *,
        language: Literal["bash", "python"] = "bash",
        arguments: Sequence[str] = (),
        directory: str = "/",
        timeout: float = SCRIPT_SECONDS,
    ) -> CommandResult:
        """Runs a script in a process of its own, as root, with a clean environment and no input.

        What it leaves running goes on; what that prints is in nobody's output.

        Args:
            code: The script, of any length.
            language: What it is written in.
            arguments: Its arguments.
            directory: Where it runs.
            timeout: Wall-clock seconds, positive. When they are up every process of the container is killed.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        return self._script(code, language, arguments, directory, timeout, judge=False, alone=False)

    def judge(
        self,
        code: str,
        *,
        language: Literal["bash", "python"] = "bash",
        arguments: Sequence[str] = (),
        directory: str = "/",
        timeout: float = SCRIPT_SECONDS,
        alone: bool = True,
    ) -> CommandResult:
        """As `script`, if what the script uses is the image's own; else the result's `changed` says what is not.

        Args:
            code: As for `script`, like what follows.
            language: What it is written in.
            arguments: Its arguments.
            directory: Where it runs.
            timeout: Wall-clock seconds, positive.
            alone: Whether all other processes stay stopped, so that none of them meddles.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        return self._script(code, language, arguments, directory, timeout, judge=True, alone=alone)

    def seal(self) -> None:
        """Says that what the container holds now is trusted, and what changes from now on is the agent's doing.

        Without it the container's start is that moment.

        Raises:
            SandboxUnavailable: The container is gone.
        """
        self._request("seal", {}, 0.0)

    def _script(
        self,
        code: str,
        language: str,
        arguments: Sequence[str],
        directory: str,
        timeout: float,
        *,
        judge: bool,
        alone: bool,
    ) -> CommandResult:
        payload = {
            "code": code,
            "language": language,
            "arguments": list(arguments),
            "directory": directory,
            "seconds": timeout,
            "limit": SCRIPT_OUTPUT_BYTES,
            "judge": judge,
            "alone": alone,
            "crowd": int(self._limits.pids * CROWD),
        }
        return self._request("script", payload, timeout)

    def _request(self, what: str, payload: Mapping[str, object], seconds: float) -> CommandResult:
        if self._closed:
            raise SandboxUnavailable("this shell session is closed")
        reply = self._channel.request({"do": what, **payload}, seconds=seconds + GRACE_SECONDS)
        return CommandResult(**reply)

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


def guest_program(limits: Limits) -> bytes:
    """The guest's source: its modules, each under its own name, then the call of the main one."""
    modules = [(f"cycleqd.sandbox.guest.{name}", (GUEST_DIRECTORY / f"{name}.py").read_text()) for name in MODULES]
    return (
        f"import sys, types\nfor name, text in {modules!r}:\n"
        " module = sys.modules[name] = types.ModuleType(name)\n"
        " exec(compile(text, name, 'exec'), module.__dict__)\n"
        f"module.main({limits.disk_mb * 1024 * 1024})\n"
    ).encode()


def tmpfs(limits: Limits, *, homes: bool = True) -> dict[str, str]:
    """The in-memory file systems of a shell container: where most files go, with a size.

    Args:
        limits: Say the size of each.
        homes: Whether ``/root`` and ``/home`` are among them; else they are the image's.
    """
    size = f"size={limits.tmpfs_mb}m,nosuid,nodev,exec"
    return {
        **({"/root": f"{size},mode=0700", "/home": f"{size},mode=0755"} if homes else {}),
        "/tmp": f"{size},mode=1777",  # noqa: S108 -- inside the container
        "/var/tmp": f"{size},mode=1777",  # noqa: S108 -- inside the container
        "/run": f"{size},mode=0755",
    }
