"""Part of the guest of a shell container: one bash that lives across commands, and scripts beside it.

bash reads its script from a pipe, one line ``eval '<command>' </dev/null`` a request, followed by a line that writes
the exit status to a pipe of its own: a command with an unclosed quote is a syntax error of `eval`, a command that
reads standard input sees its end, and nothing that it prints can be taken for the status. A command that looks for
that pipe (``/proc/$$/fd``) can write to it, and so lie about how it ended; what is no status ends its bash. An
``attached`` command has bash's own pipe as its input: a shell that it starts (`su`) takes what comes next. One to
``leave`` may take longer than its time: it goes on in its bash, and the agent gets another.

Between requests everything but the guest is stopped: nothing is computed, written or filled while a model thinks.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from cycleqd.sandbox.guest.disk import Disk
from cycleqd.sandbox.guest.processes import (
    ENVIRONMENT,
    HOME,
    READ_BYTES,
    STATUS_BYTES,
    STATUS_FD,
    Bash,
    TooLong,
    drain,
    end_everything,
    exit_code,
    in_memory,
    is_stopped,
    processes,
    quoted,
    read_some,
    start,
    unclosed_substitution,
    waits_for_a_shell,
)
from cycleqd.sandbox.guest.trust import PROGRAMS, Seal, next_tick

TYPE_CHECKING = False  # `typing` takes as long to load as all the rest
if TYPE_CHECKING:
    from typing import Any

TICK_SECONDS = 0.05
"""How often the disk is looked at while a command runs."""
PARSE_SECONDS = 5.0
"""For bash to read a command without running it."""
TIMED_OUT_STATUS = 124
"""What timeout(1) reports."""
CANNOT_RUN_STATUS = 126
KILLED_STATUS = 137
"""A shell's word for SIGKILL."""
ENDED_STATUS = 255
"""Of a command that ended bash itself, which would have been 0: such a command's status says nothing."""
ARGUMENT_BYTES = 100_000
"""Linux runs no command with an argument of 128 KiB or more; longer scripts come in a file."""
LEFT_OPEN = 64
"""Outputs of scripts whose background processes still write."""
SYNTAX_STATUS = 2
FULL = "bash: the disk is full: more than this machine may write; all processes were ended\n"
JUDGING = {"PATH": ":".join(PROGRAMS), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
           "PYTHONPYCACHEPREFIX": "/proc/none"}  # fmt: skip
"""The image's programs come before the agent's, and no Python takes compiled modules that the agent may have put."""
INTERPRETERS = {"bash": ("/bin/bash", "--noprofile", "--norc"), "python": (sys.executable,)}


class Shell:
    """Runs requests in one bash; starts another when it ended."""

    def __init__(self, disk_bytes: int) -> None:
        # SIGCHLD writes to this pipe, so that poll() wakes up.
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.null = os.open("/dev/null", os.O_RDWR)
        self.seal = Seal()
        self.disk = Disk(disk_bytes)
        # Processes that the agent stopped: they stay so. And those that may stop themselves.
        self.stopped: set[int] = set()
        self.waiters: set[int] = set()
        self.paused = False
        # Outputs of scripts that somebody may still write to; what comes is read and dropped.
        self.left: list[int] = []
        # The exit codes of bash and of a running script once they ended.
        self.ended: int | None = None
        self.script: int | None = None
        self.script_ended: int | None = None
        self.bash = Bash(HOME)

    def pause(self) -> None:
        """Stops everything."""
        if not self.paused:
            there = processes()
            self.waiters = {pid for pid in there if waits_for_a_shell(pid)}
            self.stopped = {pid for pid in there if is_stopped(pid)} - self.waiters
        self.paused = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets everything go on that `pause` stopped."""
        self.paused = False
        with contextlib.suppress(ProcessLookupError):
            if not self.stopped:
                os.kill(-1, signal.SIGCONT)
        if self.stopped:
            for pid in processes():
                if pid not in self.stopped:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)

    def spur(self) -> None:
        """Lets those of `WAITERS` go on that stopped themselves because `pause` had stopped their shells.

        They do so some time after `resume`, for they hear of it only then.
        """
        for pid in self.waiters:
            if is_stopped(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def idle(self, requests: int) -> bytes | None:
        """Waits for a request and collects orphans meanwhile; returns its line, or None at the end."""
        poll = select.poll()
        poll.register(requests, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        parts: list[bytes] = []
        while not parts or not parts[-1].endswith(b"\n"):
            for descriptor, _ in poll.poll():
                if descriptor == self.wake:
                    # bash may end between commands (a background process kills it): `command` notices.
                    self.woken()
                else:
                    data = os.read(requests, READ_BYTES)
                    if not data:
                        return None
                    parts.append(data)
        return b"".join(parts)

    def command(self, command: str, seconds: float, limit: int, attached: bool, leave: bool) -> dict[str, Any]:
        """Runs a command in bash to its end or for `seconds`; returns the reply without its id.

        Of the output the first `limit` bytes are kept; the rest is read and dropped.
        """
        deadline = time.monotonic() + seconds
        restarted = False
        if self.ended is not None:
            self.restart(HOME)
            restarted = True
        try:
            complaint = unclosed_substitution(command, min(seconds, PARSE_SECONDS))
        except TooLong:
            return self.killed(self.bash.output, bytearray(), 0, limit, directory=self.bash.directory())
        if complaint is not None:
            return reply(complaint.encode(), limit, SYNTAX_STATUS, restarted=restarted)
        streams = "" if attached else f" </dev/null {STATUS_FD}>&-"
        script = f"eval {quoted(command)}{streams}\ncommand printf '%d\\n' \"$?\" >&{STATUS_FD}\n"
        pending = memoryview(script.encode("utf-8", "replace"))
        kept, total, status = bytearray(), 0, b""
        poll = self.poll(self.bash.output, self.bash.status)
        poll.register(self.bash.script, select.POLLOUT)
        while b"\n" not in status and len(status) <= STATUS_BYTES and self.ended is None:
            left = deadline - time.monotonic()
            if left <= 0 and leave:
                self.left += [self.bash.output, self.bash.status]
                self.bash = Bash("/")
                return reply(kept, limit, TIMED_OUT_STATUS, timed_out=True, restarted=True)
            if left <= 0:
                return self.killed(self.bash.output, kept, total, limit, directory=self.bash.directory())
            if self.disk.full():
                return self.killed(self.bash.output, kept, total, limit, full=True)
            self.spur()
            for descriptor, _ in poll.poll(min(left, TICK_SECONDS) * 1000 + 1):
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
                    total += read_some(descriptor, kept, limit)
                elif descriptor == self.bash.status:
                    data = os.read(descriptor, READ_BYTES)
                    if not data:
                        poll.unregister(descriptor)
                    status += data
                else:
                    self.other(descriptor)
        total += drain(self.bash.output, kept, limit)
        code = exit_code(status)
        if code is None:
            if self.ended is None:
                os.kill(self.bash.pid, signal.SIGKILL)
            code, restarted = KILLED_STATUS if self.ended is None else self.ended or ENDED_STATUS, True
            self.restart(HOME)
        return reply(kept, limit, code, truncated=total > len(kept), restarted=restarted)

    def run_script(
        self,
        code: str,
        language: str,
        arguments: list[str],
        directory: str,
        seconds: float,
        limit: int,
        judge: bool,
        crowd: int,
    ) -> dict[str, Any]:
        """Runs a script in a process of its own, as root, in a clean environment, without input.

        Args:
            code: The script.
            language: A key of `INTERPRETERS`.
            arguments: Its arguments.
            directory: Where it starts.
            seconds: Its time.
            limit: Bytes of its output to keep.
            judge: Whether its result counts only if what it uses is the image's own, before and after.
            crowd: So many processes of the agent would keep it from working: they are ended.
        """
        if len(processes()) >= crowd:
            end_everything()
            self.restart(HOME)
        # What the agent did a moment ago must not look like what the judge itself did.
        began = next_tick() if judge else 0
        if judge and (changed := self.seal.broken()):
            return reply(b"", limit, CANNOT_RUN_STATUS, changed=changed)
        result = self.script_result(code, language, arguments, directory, seconds, limit, judge)
        if judge and (changed := self.seal.changed(began, language + code)):
            return reply(b"", limit, CANNOT_RUN_STATUS, changed=changed)
        return result

    def script_result(
        self, code: str, language: str, arguments: list[str], directory: str, seconds: float, limit: int, judge: bool
    ) -> dict[str, Any]:
        """The second half of `run_script`."""
        deadline = time.monotonic() + seconds
        data = code.replace("\0", "").encode("utf-8", "replace")
        program = list(INTERPRETERS[language])
        file = None
        if len(data) > ARGUMENT_BYTES:
            file = in_memory("script", data)
            program.append(f"/dev/fd/{STATUS_FD}")
        else:
            program += ["-c", data.decode("utf-8")]
            if language == "bash" and arguments:
                program.append("--")  # bash -c takes its own name first
        program += [argument.replace("\0", "").encode("utf-8", "replace").decode("utf-8") for argument in arguments]
        environment = {**ENVIRONMENT, **JUDGING} if judge else ENVIRONMENT
        output, output_write = os.pipe()
        os.set_blocking(output, False)
        descriptors = {0: self.null, 1: output_write, 2: output_write}
        if file is not None:
            descriptors[STATUS_FD] = file
        self.script_ended = None
        try:
            self.script = start(program, environment, directory, descriptors)
        except OSError:
            end_everything()
            self.restart(HOME)
            self.script = start(program, environment, directory, descriptors)
        finally:
            os.close(output_write)
            if file is not None:
                os.close(file)
        kept, total = bytearray(), 0
        poll = self.poll(output)
        while self.script_ended is None:
            left = deadline - time.monotonic()
            full = self.disk.full()
            if left <= 0 or full:
                self.script = None
                result = self.killed(output, kept, total, limit, full=full)
                os.close(output)
                return result
            for descriptor, event in poll.poll(min(left, TICK_SECONDS) * 1000 + 1):
                if descriptor == output:
                    got = read_some(output, kept, limit)
                    total += got
                    if not got and event & select.POLLHUP:
                        poll.unregister(output)
                else:
                    self.other(descriptor)
        total += drain(output, kept, limit)
        self.left.append(output)
        if len(self.left) > LEFT_OPEN:
            os.close(self.left.pop(0))
        self.script = None
        return reply(kept, limit, self.script_ended, truncated=total > len(kept))

    def killed(
        self, output: int, kept: bytearray, total: int, limit: int, *, directory: str = HOME, full: bool = False
    ) -> dict[str, Any]:
        """Ends everything, because time is used up (or the disk is `full`), and starts another bash.

        Args:
            output: Where more of what was printed may come from.
            kept: What was printed so far.
            total: Bytes of it, also of those that were not kept.
            limit: Bytes to keep.
            directory: Where the other bash starts.
            full: Whether it is the disk.
        """
        end_everything()
        total += drain(output, kept, limit)
        self.restart(directory)
        truncated = total > len(kept)
        if full:
            return reply(kept + FULL.encode(), limit + len(FULL), KILLED_STATUS, truncated=truncated, restarted=True)
        return reply(kept, limit, TIMED_OUT_STATUS, timed_out=True, truncated=truncated, restarted=True)

    def poll(self, *descriptors: int) -> select.poll:
        """Waits for these, for children, and for what is left of earlier scripts' outputs."""
        poll = select.poll()
        for descriptor in (self.wake, *descriptors, *self.left):
            poll.register(descriptor, select.POLLIN)
        self.polling = poll
        return poll

    def other(self, descriptor: int) -> None:
        """Deals with a descriptor that is not the present request's."""
        if descriptor == self.wake:
            self.woken()
            return
        try:
            if os.read(descriptor, READ_BYTES):
                return
        except BlockingIOError:
            return
        self.polling.unregister(descriptor)
        self.left.remove(descriptor)
        os.close(descriptor)

    def woken(self) -> None:
        """A child ended or changed: empties the pipe that says so, collects all."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, READ_BYTES):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code
            if pid == self.bash.pid:
                self.ended = code
            elif pid == self.script:
                self.script_ended = code

    def restart(self, directory: str) -> None:
        """Starts another bash."""
        try:
            bash = Bash(directory)
        except OSError:
            end_everything()  # no process or memory left
            bash = Bash(directory)
        self.bash.close()
        self.bash = bash
        self.ended = None


def reply(
    output: bytes | bytearray,
    limit: int,
    code: int,
    *,
    timed_out: bool = False,
    truncated: bool = False,
    restarted: bool = False,
    changed: str = "",
) -> dict[str, Any]:
    """A reply without its id."""
    return {
        "output": bytes(output[:limit]).decode("utf-8", "replace"),
        "exit_code": code,
        "timed_out": timed_out,
        "truncated": truncated or len(output) > limit,
        "restarted": restarted,
        "changed": changed,
    }
