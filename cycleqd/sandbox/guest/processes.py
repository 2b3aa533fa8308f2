"""Part of the guest of a shell container: starting, reading and ending processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time

HOME = "/root"
READ_BYTES = 65_536
DRAIN_BYTES = 1_048_576
"""How much is read after a command ended: a background process may write for ever."""
OUT_OF_MEMORY_FIRST = "500"
"""oom_score_adj of everything but the guest: the kernel ends the model's processes first."""
STATUS_FD = 8
STATUS_BYTES = 4
"""The longest status: three digits and the line's end."""
UNCLOSED = "unexpected EOF while looking for matching `)'"
ENVIRONMENT = {
    "HOME": HOME,
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


WAITERS = (b"su", b"sudo", b"runuser")
"""Programs that stop themselves when the shell that they started is stopped, until somebody lets them go on."""


def quoted(text: str) -> str:
    """`text` as one word of shell, whatever it holds (NUL, which no shell can hold, is left out)."""
    return "'" + text.replace("\0", "").replace("'", "'\"'\"'") + "'"


def in_memory(name: str, data: bytes) -> int:
    """A file in memory with that content, at its beginning."""
    descriptor = os.memfd_create(name)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class TooLong(Exception):
    """bash did not even read the command in time."""


def unclosed_substitution(command: str, seconds: float) -> str | None:
    """Bash's complaint about a command substitution that never ends, None where there is none.

    bash 5.2 damages its own memory when `eval` meets one (``eval 'echo $('`` and the next command ends in "free():
    invalid next size"), so another bash parses such a command first.

    Raises:
        TooLong: It did not end within `seconds`; it was killed.
    """
    if not any(opening in command for opening in ("$(", "<(", ">(")):
        return None
    script = in_memory("script", command.replace("\0", "").encode("utf-8", "replace") + b"\n")
    complaint = in_memory("complaint", b"")
    deadline = time.monotonic() + seconds
    try:
        files = [
            (os.POSIX_SPAWN_DUP2, script, 0),
            (os.POSIX_SPAWN_DUP2, complaint, 1),
            (os.POSIX_SPAWN_DUP2, complaint, 2),
        ]
        options = ["bash", "--noprofile", "--norc", "-O", "extglob", "-n"]
        pid = os.posix_spawn("/bin/bash", options, ENVIRONMENT, file_actions=files)
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TooLong
            time.sleep(0.0005)
        os.lseek(complaint, 0, os.SEEK_SET)
        text = os.read(complaint, READ_BYTES).decode("utf-8", "replace")
    finally:
        os.close(script)
        os.close(complaint)
    return text if UNCLOSED in text else None


def exit_code(status: bytes) -> int | None:
    """The exit status that bash wrote; None for anything else, which a command wrote."""
    digits = status[:-1]
    if status[-1:] != b"\n" or not digits.isdigit() or len(status) > STATUS_BYTES:
        return None
    code = int(digits)
    return code if code <= 255 else None


def start(program: list[str], environment: dict[str, str], directory: str, descriptors: dict[int, int]) -> int:
    """Starts a process in a session of its own; returns its id.

    Args:
        program: Path and arguments.
        environment: All of it.
        directory: Where it starts, or ``/`` where that can't be entered.
        descriptors: What it has open: its number to ours; ours are above 2, and at most one of its is, the last.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setresgid(0, 0, 0)
        os.setsid()
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(OUT_OF_MEMORY_FIRST)
        for number, ours in descriptors.items():
            os.dup2(ours, number)
            os.set_inheritable(number, True)
        least = 0
        for number in sorted(descriptors):
            if least < number:  # an empty range would close everything
                os.closerange(least, number)
            least = number + 1
        os.closerange(least, 1024)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.chdir(directory)
        except OSError:
            os.chdir("/")
        try:
            os.execve(program[0], [os.path.basename(program[0]), *program[1:]], environment)  # noqa: S606 -- it is the shell
        except (OSError, ValueError) as error:
            os.write(2, f"{os.path.basename(program[0])} can't be started: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(127)


class Bash:
    """One bash process with the pipes to and from it.

    Args:
        directory: Where it starts.
    """

    def __init__(self, directory: str) -> None:
        script_read, self.script = os.pipe()
        self.output, output_write = os.pipe()
        self.status, status_write = os.pipe()
        files = {0: script_read, 1: output_write, 2: output_write, STATUS_FD: status_write}
        try:
            self.pid = start(["/bin/bash", "--noprofile", "--norc"], ENVIRONMENT, directory, files)
        finally:
            for descriptor in set(files.values()):
                os.close(descriptor)
        for descriptor in (self.script, self.output, self.status):
            os.set_blocking(descriptor, False)

    def directory(self) -> str:
        """Where it is, or HOME when that can't be known."""
        try:
            return os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            return HOME

    def close(self) -> None:
        """Closes the pipes."""
        for descriptor in (self.script, self.output, self.status):
            os.close(descriptor)


def end_everything() -> None:
    """Kills all processes of the container but this one and collects them."""
    while True:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def processes() -> list[int]:
    """All processes but this one."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal, or will be as soon as it sees one that was sent."""
    # The state is written before the signals: a stop between the two shows in neither, but in the next reading.
    return shows_stop(pid) or shows_stop(pid)


def shows_stop(pid: int) -> bool:
    """What one reading of a process's status says."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
        pending = int(fields[b"ShdPnd"], 16)
    except (OSError, KeyError, ValueError):
        return False
    return fields[b"State"].lstrip().startswith(b"T") or bool(pending >> (signal.SIGSTOP - 1) & 1)


def waits_for_a_shell(pid: int) -> bool:
    """Whether a process is one of `WAITERS`."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().strip() in WAITERS
    except OSError:
        return False


def read_some(descriptor: int, kept: bytearray, limit: int) -> int:
    """Reads what is there, keeps it up to `limit` in all, returns how many bytes there were."""
    try:
        data = os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return 0
    kept += data[: max(0, limit - len(kept))]
    return len(data)


def drain(descriptor: int, kept: bytearray, limit: int) -> int:
    """Reads what is left, but not for ever; returns how many bytes there were."""
    total = 0
    while total < DRAIN_BYTES:
        count = read_some(descriptor, kept, limit)
        if not count:
            break
        total += count
    return total
