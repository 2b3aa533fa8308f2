"""The guest of a runner container: runs programs, each in a process and under a user id of its own.

Requests: ``{"id", "source", "entry_point", "calls", "seconds", "value_bytes", "total_bytes"}``, the last of which may
be null. Replies: ``{"id", "outcomes"}``, a list of ``[value, error]``, one a call; or ``{"id", "unusable"}``, the last
reply of a guest whose programs no longer start as they should. The first request is ``{"places": [{"uid",
"directory"}], "memory_bytes", "threads", "modules"}``; modules, given by name and text, are there for every program.

A program is one process (a filter of system calls leaves it threads, but no other process), without any open file but
the pipe for its own values: it can't signal, trace or read the guest or another program, can't outlive its kill, and
sees no expected value. It is forked from a process that never read a request (`zygote`), so that no other program is
in its memory. Its directory is emptied after it, and has to be as new before the next program starts there.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from cycleqd.sandbox.guest.confinement import left_over
from cycleqd.sandbox.guest.zygote import ERROR_CHARACTERS, READ_BYTES, READY, Zygote

START_SECONDS = 30.0
"""Until a program's process is confined; on a busy machine that takes a while, and is none of the program's time."""
TRUNCATED = "the program's results are larger than the limit"
TIMED_OUT = "TimeoutError: no result within {:g} s"
PATIENCE = 9.0
"""Time that a program waits for a processor is not its own, up to so many times its own time."""


class Unusable(RuntimeError):
    """Programs no longer start as they should: what the next one returns would be no verdict on it."""


class Job:
    """One program that runs.

    Args:
        request: What to run.
        place: Where and as whom.
        zygote: What starts it.

    Raises:
        OSError: It can't be started.
    """

    def __init__(self, request: dict[str, Any], place: dict[str, Any], zygote: Zygote) -> None:
        self.request, self.place, self.zygote = request, place, zygote
        self.buffer, self.total = bytearray(), 0
        self.ready, self.waited, self.patience = False, 0.0, START_SECONDS
        self.deadline: float = time.monotonic() + START_SECONDS
        self.cause: str | None = None
        most = len(request["calls"]) * (6 * request["value_bytes"] + 4 * ERROR_CHARACTERS)
        self.limit = most if request["total_bytes"] is None else min(most, request["total_bytes"])
        self.limit += len(READY) + ERROR_CHARACTERS
        self.report, report_write = os.pipe()
        text = os.memfd_create("request")
        try:
            data = memoryview(json.dumps(request).encode())
            while data:
                data = data[os.write(text, data) :]
            os.lseek(text, 0, os.SEEK_SET)
            answer = zygote.ask({"start": place, "seconds": request["seconds"]}, (text, report_write))
            self.pid: int = answer["pid"]
        finally:
            os.close(text)
            os.close(report_write)

    def read(self) -> bool:
        """Takes what the program reported; False at the end of it."""
        data = os.read(self.report, READ_BYTES)
        self.total += len(data)
        if self.total > self.limit:
            self.cause = TRUNCATED
            return False
        self.buffer += data
        if not self.ready and self.buffer.startswith(READY):
            self.ready, self.waited = True, waited(self.pid)
            self.deadline = time.monotonic() + self.request["seconds"]
            self.patience = PATIENCE * self.request["seconds"]
        return bool(data)

    def is_late(self) -> bool:
        """Whether the time is up; moves the deadline by what the program has waited for a processor since."""
        if time.monotonic() < self.deadline:
            return False
        before, self.waited = self.waited, waited(self.pid)
        more = min(self.waited - before, self.patience)
        self.patience -= more
        self.deadline += max(0.0, more)
        return time.monotonic() >= self.deadline

    def finish(self) -> list[list[str | None]]:
        """Ends the process, clears its directory, returns the outcomes.

        Raises:
            Unusable: The process was not confined, or its directory can't be cleared.
            OSError: Likewise.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = self.zygote.ask({"wait": self.pid})["status"]
        os.close(self.report)
        if not self.buffer.startswith(READY):
            said = bytes(self.buffer[:ERROR_CHARACTERS]).decode("utf-8", "replace")
            raise Unusable(f"a program's process was not confined ({said or how_it_ended(status)})")
        if left_over(self.place) is not None:
            self.zygote.ask({"clear": self.place})
            rest = left_over(self.place)
            if rest is not None:
                raise Unusable(f"a program's directory can't be cleared ({rest})")
        outcomes: list[list[str | None]] = []
        lines = bytes(self.buffer[len(READY) :]).split(b"\n")
        for line in lines[:-1][: len(self.request["calls"])]:
            outcomes.append(checked(line, self.request["value_bytes"]))
        cause = self.cause
        if cause is None:
            cause = f"ProgramEnded: the program ended before it returned ({how_it_ended(status)})"
        outcomes.extend([None, cause] for _ in range(len(self.request["calls"]) - len(outcomes)))
        return outcomes


def how_it_ended(status: int) -> str:
    """A process's end in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def waited(pid: int) -> float:
    """Seconds that a process was ready to run, but had no processor."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # it has ended, or the kernel keeps no account
        return 0.0


def checked(line: bytes, value_bytes: int) -> list[str | None]:
    """A reported outcome; what a program may have written itself is held to the form and the size."""
    try:
        value, error = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return [None, "ProgramEnded: unreadable result"]
    if type(value) is str and error is None and len(value) <= value_bytes:
        return [value, None]
    return [None, error[: 2 * ERROR_CHARACTERS] if type(error) is str else "ProgramEnded: unreadable result"]


class Runner:
    """Runs as many programs at a time as there are places.

    Args:
        requests: Open file to read requests from.
        replies: Open file to write replies to.
        settings: The first request.
        zygote: What programs are forked from.
    """

    def __init__(self, requests: int, replies: int, settings: dict[str, Any], zygote: Zygote) -> None:
        self.requests, self.replies, self.zygote = requests, replies, zygote
        self.free = settings["places"]
        self.waiting: list[dict[str, Any]] = []
        self.jobs: dict[int, Job] = {}
        self.buffer = bytearray()
        self.poll = select.poll()
        self.poll.register(requests, select.POLLIN)

    def serve(self) -> None:
        """Runs programs until the requests end, or until programs no longer run as they should."""
        while True:
            while self.waiting and self.free:
                self.start(self.waiting.pop(0))
            deadlines = [job.deadline for job in self.jobs.values()]
            wait = max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None
            for descriptor, _ in self.poll.poll(wait):
                if descriptor == self.requests:
                    if not self.accept():
                        return
                elif not self.jobs[descriptor].read():
                    self.end(descriptor)
            for descriptor, job in list(self.jobs.items()):
                if job.is_late():
                    job.cause = TIMED_OUT.format(job.request["seconds"])
                    self.end(descriptor)

    def accept(self) -> bool:
        """Takes requests; False when there will be no more."""
        data = os.read(self.requests, READ_BYTES)
        self.buffer += data
        if b"\n" in data:
            *lines, rest = self.buffer.split(b"\n")
            self.buffer = bytearray(rest)
            self.waiting.extend(json.loads(line) for line in lines)
        return bool(data)

    def start(self, request: dict[str, Any]) -> None:
        """Starts a program in a free place."""
        place = self.free.pop()
        try:
            job = Job(request, place, self.zygote)
        except OSError as error:
            self.give_up(request, error)
        self.jobs[job.report] = job
        self.poll.register(job.report, select.POLLIN)

    def end(self, descriptor: int) -> None:
        """Ends the program that reports on `descriptor` and replies."""
        job = self.jobs.pop(descriptor)
        self.poll.unregister(descriptor)
        try:
            outcomes = job.finish()
        except (OSError, Unusable) as error:
            self.give_up(job.request, error)
        self.free.append(job.place)
        self.reply({"id": job.request["id"], "outcomes": outcomes})

    def give_up(self, request: dict[str, Any], error: Exception) -> NoReturn:
        """Says why programs no longer run as they should, and ends the container with all of them."""
        self.reply({"id": request["id"], "unusable": str(error)})
        sys.exit(1)

    def reply(self, message: dict[str, Any]) -> None:
        """Writes one line."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self.replies, data) :]


def main() -> None:
    """Serves requests until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Imports never come from a working directory: programs may leave anything in theirs.
    sys.path[:] = [folder for folder in sys.path if os.path.isabs(folder)]
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    text = bytearray()
    while not text.endswith(b"\n"):
        byte = os.read(requests, 1)  # no byte of what comes after may be in the zygote's memory
        if not byte:
            return
        text += byte
    settings = json.loads(text)
    Runner(requests, replies, settings, Zygote(settings)).serve()


if __name__ == "__main__":
    main()
