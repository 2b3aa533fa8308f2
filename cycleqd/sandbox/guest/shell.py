"""The guest of a shell container: one bash that lives across commands. Runs as the container's first process.

Requests: ``{"id", "command", "seconds", "limit", "fresh"}``. Replies: ``{"id", "output", "exit_code", "timed_out",
"truncated", "restarted"}``.

bash reads its script from a pipe, one line ``eval '<command>' </dev/null`` a request, followed by a line that writes
the exit status to a pipe of its own: a command with an unclosed quote is a syntax error of `eval`, a command that
reads standard input sees its end, and nothing that it prints can be taken for the status. A command that looks for
that pipe (``/proc/$$/fd``) can write to it, and so lie about how it ended; what is no status ends its bash. Being
process 1, the guest survives ``kill -9 -1``, inherits and reaps every orphan, and ends everything else with one call
when time is up.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

HOME = "/root"
READ_BYTES = 65_536
DRAIN_BYTES = 1_048_576
"""How much is read after a command ended: a background process may write for ever."""
OUT_OF_MEMORY_FIRST = "500"
"""oom_score_adj of everything but the guest: the kernel ends the model's processes first."""
TIMED_OUT_STATUS = 124
"""What timeout(1) reports."""
KILLED_STATUS = 137
"""A shell's word for SIGKILL."""
STATUS_FD = 8
STATUS_BYTES = 4
"""The longest status: three digits and the line's end."""
NOBODY = 65_534
UNCLOSED = "unexpected EOF while looking for matching `)'"
SYNTAX_STATUS = 2
ENVIRONMENT = {
    "HOME": HOME,
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


def quoted(text: str) -> str:
    """`text` as one word of shell, whatever it holds (NUL, which no shell can hold, is left out)."""
    return "'" + text.replace("\0", "").replace("'", "'\"'\"'") + "'"


def unclosed_substitution(command: str) -> str | None:
    """Bash's complaint about a command substitution that never ends, None where there is none.

    bash 5.2 damages its own memory when `eval` meets one (``eval 'echo $('`` and the next command ends in "free():
    invalid next size"), so another bash parses such a command first.
    """
    if not any(opening in command for opening in ("$(", "<(", ">(")):
        return None
    script, complaint = os.memfd_create("script"), os.memfd_create("complaint")
    try:
        data = memoryview(command.replace("\0", "").encode("utf-8", "replace") + b"\n")
        while data:
            data = data[os.write(script, data) :]
        os.lseek(script, 0, os.SEEK_SET)
        files = [
            (os.POSIX_SPAWN_DUP2, script, 0),
            (os.POSIX_SPAWN_DUP2, complaint, 1),
            (os.POSIX_SPAWN_DUP2, complaint, 2),
        ]
        options = ["bash", "--noprofile", "--norc", "-O", "extglob", "-n"]
        os.waitpid(os.posix_spawn("/bin/bash", options, ENVIRONMENT, file_actions=files), 0)
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


class Bash:
    """One bash process with the pipes to and from it.

    Args:
        directory: Where it starts.
    """

    def __init__(self, directory: str) -> None:
        script_read, self.script = os.pipe()
        self.output, output_write = os.pipe()
        self.status, status_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                with open("/proc/self/oom_score_adj", "w") as score:
                    score.write(OUT_OF_MEMORY_FIRST)
                os.dup2(script_read, 0)
                os.dup2(output_write, 1)
                os.dup2(output_write, 2)
                os.dup2(status_write, STATUS_FD)
                os.closerange(3, STATUS_FD)
                os.closerange(STATUS_FD + 1, 64)
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
                    signal.signal(number, signal.SIG_DFL)
                try:
                    os.chdir(directory)
                except OSError:
                    os.chdir("/")
                os.execve("/bin/bash", ["bash", "--noprofile", "--norc"], ENVIRONMENT)  # noqa: S606 -- it is the shell
            finally:
                os._exit(127)
        for descriptor in (script_read, output_write, status_write):
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


def reap(wanted: int | None) -> int | None:
    """Collects every ended child; returns the exit code of process `wanted` if it is among them, else None."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == wanted:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


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


class Shell:
    """Runs requests in one bash; starts another when it ended."""

    def __init__(self) -> None:
        # SIGCHLD writes to this pipe, so that poll() wakes up.
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.bash = Bash(HOME)
        # The exit code of bash once it ended.
        self.ended: int | None = None

    def idle(self, requests: int) -> bytes | None:
        """Waits for a request and collects orphans meanwhile; returns its line, or None at the end."""
        poll = select.poll()
        poll.register(requests, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        buffer = b""
        while not buffer.endswith(b"\n"):
            for descriptor, _ in poll.poll():
                if descriptor == self.wake:
                    # bash may end between commands (a background process kills it): `run` notices.
                    self.woken()
                else:
                    data = os.read(requests, READ_BYTES)
                    if not data:
                        return None
                    buffer += data
        return buffer

    def run(self, command: str, seconds: float, limit: int, fresh: bool) -> dict[str, Any]:
        """Runs a command to its end or for `seconds`; returns the reply without its id.

        Of the output the first `limit` bytes are kept; the rest is read and dropped. `fresh` starts another bash
        first, whatever the present one is doing: it ends when its script does, which is now.
        """
        deadline = time.monotonic() + seconds
        restarted = False
        if fresh or self.ended is not None:
            self.restart(HOME)
            restarted = True
        complaint = unclosed_substitution(command)
        if complaint is not None:
            return {
                "output": complaint[:limit],
                "exit_code": SYNTAX_STATUS,
                "timed_out": False,
                "truncated": len(complaint) > limit,
                "restarted": restarted,
            }
        script = f"eval {quoted(command)} </dev/null {STATUS_FD}>&-\nbuiltin printf '%d\\n' \"$?\" >&{STATUS_FD}\n"
        pending = memoryview(script.encode("utf-8", "replace"))
        kept, total, status = bytearray(), 0, b""
        poll = select.poll()
        for descriptor in (self.wake, self.bash.output, self.bash.status):
            poll.register(descriptor, select.POLLIN)
        poll.register(self.bash.script, select.POLLOUT)
        timed_out = False
        while b"\n" not in status and len(status) <= STATUS_BYTES and self.ended is None:
            left = deadline - time.monotonic()
            if left <= 0:
                timed_out = True
                break
            for descriptor, _ in poll.poll(left * 1000 + 1):
                if descriptor == self.bash.script:
                    try:
                        pending = pending[os.write(descriptor, pending) :]
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        pending = pending[:0]
                    if not pending:
                        poll.unregister(descriptor)
                elif descriptor == self.bash.output:
                    total += self.read_output(kept, limit)
                elif descriptor == self.bash.status:
                    data = os.read(descriptor, READ_BYTES)
                    if not data:
                        poll.unregister(descriptor)
                    status += data
                else:
                    self.woken()
        directory = self.bash.directory()
        if timed_out:
            end_everything()
        drained = 0
        while drained < DRAIN_BYTES:
            count = self.read_output(kept, limit)
            if not count:
                break
            drained += count
        total += drained
        code = exit_code(status)
        if timed_out:
            self.restart(directory)
            code, restarted = TIMED_OUT_STATUS, True
        elif code is None:
            if self.ended is None:
                os.kill(self.bash.pid, signal.SIGKILL)
            code, restarted = KILLED_STATUS if self.ended is None else self.ended, True
            self.restart(HOME)
        return {
            "output": kept.decode("utf-8", "replace"),
            "exit_code": code,
            "timed_out": timed_out,
            "truncated": total > len(kept),
            "restarted": restarted,
        }

    def woken(self) -> None:
        """A child ended: collects all that did, and notes if bash is among them."""
        os.read(self.wake, READ_BYTES)
        code = reap(self.bash.pid)
        if code is not None:
            self.ended = code

    def read_output(self, kept: bytearray, limit: int) -> int:
        """Reads what is there, keeps it up to `limit` in all, returns how many bytes there were."""
        try:
            data = os.read(self.bash.output, READ_BYTES)
        except BlockingIOError:
            return 0
        kept += data[: max(0, limit - len(kept))]
        return len(data)

    def restart(self, directory: str) -> None:
        """Starts another bash."""
        self.bash.close()
        self.bash = Bash(directory)
        self.ended = None


def main() -> None:
    """Serves requests until standard input ends."""
    # A process that changed its group can't be traced or read, not even by the model's root.
    os.setegid(NOBODY)
    os.setegid(0)
    # As process 1 it is deaf to signals from inside, except those that Python handles.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests, replies = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    shell = Shell()
    while True:
        line = shell.idle(requests)
        if line is None:
            sys.exit(0)
        request = json.loads(line)
        try:
            reply = shell.run(request["command"], request["seconds"], request["limit"], request["fresh"])
        except OSError as error:
            # No processes left to fork, or the like: clear the table and start again.
            end_everything()
            shell.restart(HOME)
            reply = {"output": f"{error}\n", "exit_code": 1, "timed_out": False, "truncated": False, "restarted": True}
        reply["id"] = request["id"]
        data = memoryview(json.dumps(reply).encode() + b"\n")
        while data:
            data = data[os.write(replies, data) :]


if __name__ == "__main__":
    main()
