"""The guest of a runner container: runs programs, each in a process and under a user id of its own.

Requests: ``{"id", "source", "entry_point", "calls", "seconds", "value_bytes", "total_bytes"}``, the last of which may
be null. Replies: ``{"id", "outcomes"}``, a list of ``[value, error]``, one a call. The first request is
``{"slots": [{"uid", "directory"}], "memory_bytes"}``.

A program is one process with one thread (RLIMIT_NPROC 1 for a user id that nobody else has), without any open file
but the pipe for its own values: it can't signal, trace or read the guest or another program, can't outlive its kill,
and sees no expected value.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from typing import Any

READ_BYTES = 65_536
ERROR_CHARACTERS = 500
FILE_BYTES = 1_048_576
OPEN_FILES = 64
MODULE = "candidate"
TRUNCATED = "the program's results are larger than the limit"
TIMED_OUT = "TimeoutError: no result within {:g} s"
OUT_OF_MEMORY_FIRST = "500"


def described(error: BaseException) -> str:
    """An exception as one short line with the line of the program it came from; never raises."""
    try:
        text = str(error)[:ERROR_CHARACTERS]
    except BaseException:
        text = "(its text can't be had)"
    name = type(error).__name__
    line = None
    if isinstance(error, SyntaxError):
        line = error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == f"<{MODULE}>":
            line = frame.lineno
    place = "" if line is None or f"line {line}" in text else f" (line {line})"
    return f"{name}: {text}"[:ERROR_CHARACTERS] + place


def confine(slot: dict[str, Any], memory_bytes: int, seconds: float) -> None:
    """Gives up every privilege and sets the limits of this process."""
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write(OUT_OF_MEMORY_FIRST)
    os.setsid()
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(slot["uid"], slot["uid"], slot["uid"])
    os.setresuid(slot["uid"], slot["uid"], slot["uid"])
    cpu = math.ceil(seconds) + 1
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 1),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (value, value))
    os.chdir(slot["directory"])
    os.environ.clear()
    os.environ.update(HOME=slot["directory"], TMPDIR=slot["directory"], PATH="/usr/bin:/bin", LANG="C.UTF-8")
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_DFL)
    # As Python starts: errors instead of ends.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def program(request: dict[str, Any], report: int) -> None:
    """Defines the program, makes the calls, reports one line a call; runs inside the confined process."""
    # What the program may replace afterwards is bound here.
    dumps, literal, text_of, write, to_describe = json.dumps, ast.literal_eval, repr, os.write, described
    limit, fault, calls = request["value_bytes"], BaseException, request["calls"]

    def tell(value: str | None, error: str | None) -> None:
        data = memoryview(dumps([value, error]).encode() + b"\n")
        while data:
            data = data[write(report, data) :]

    module = type(sys)(MODULE)
    sys.modules[MODULE] = module
    sys.stdin, sys.argv = open(os.devnull), [MODULE]  # noqa: SIM115 -- lives as long as the program
    try:
        exec(compile(request["source"], f"<{MODULE}>", "exec"), module.__dict__)  # noqa: S102 -- what this is for
        function = module.__dict__.get(request["entry_point"])
        if function is None:
            raise NameError(f"name '{request['entry_point']}' is not defined")
    except fault as error:
        message = to_describe(error)
        for _ in calls:
            tell(None, message)
        return
    for call in calls:
        try:
            value = text_of(function(*literal(call)))
            if type(value) is not str:
                raise TypeError("repr() of the result is no text")
            if len(value) > limit:
                tell(None, f"ValueError: the result is longer than {limit} characters")
            else:
                tell(value, None)
        except fault as error:
            tell(None, to_describe(error))


class Job:
    """One program that runs.

    Args:
        request: What to run.
        slot: Where and as whom.
        memory_bytes: Address space.
    """

    def __init__(self, request: dict[str, Any], slot: dict[str, Any], memory_bytes: int) -> None:
        self.request, self.slot = request, slot
        self.buffer, self.total = bytearray(), 0
        self.deadline = time.monotonic() + request["seconds"]
        self.cause: str | None = None
        most = len(request["calls"]) * (6 * request["value_bytes"] + 4 * ERROR_CHARACTERS)
        self.limit = most if request["total_bytes"] is None else min(most, request["total_bytes"])
        self.report, report_write = os.pipe()
        leave = os._exit  # the program may replace it
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(report_write, 3)
                os.closerange(4, 256)
                confine(slot, memory_bytes, request["seconds"])
                program(request, 3)
            finally:
                leave(0)
        os.close(report_write)

    def read(self) -> bool:
        """Takes what the program reported; False at the end of it."""
        data = os.read(self.report, READ_BYTES)
        self.total += len(data)
        if self.total > self.limit:
            self.cause = TRUNCATED
            return False
        self.buffer += data
        return bool(data)

    def finish(self) -> list[list[str | None]]:
        """Ends the process, clears its directory, returns the outcomes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.report)
        for entry in os.scandir(self.slot["directory"]):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
        outcomes: list[list[str | None]] = []
        for line in bytes(self.buffer).split(b"\n")[:-1][: len(self.request["calls"])]:
            outcomes.append(checked(line, self.request["value_bytes"]))
        cause = self.cause
        if cause is None:
            code = os.waitstatus_to_exitcode(status)
            how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
            cause = f"ProgramEnded: the program ended before it returned ({how})"
        outcomes.extend([None, cause] for _ in range(len(self.request["calls"]) - len(outcomes)))
        return outcomes


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
    """Runs as many programs at a time as there are slots.

    Args:
        requests: Open file to read requests from.
        replies: Open file to write replies to.
        settings: The first request.
    """

    def __init__(self, requests: int, replies: int, settings: dict[str, Any]) -> None:
        self.requests, self.replies = requests, replies
        self.free, self.memory_bytes = settings["slots"], settings["memory_bytes"]
        self.waiting: list[dict[str, Any]] = []
        self.jobs: dict[int, Job] = {}
        self.buffer = bytearray()
        self.poll = select.poll()
        self.poll.register(requests, select.POLLIN)

    def serve(self) -> None:
        """Runs programs until the requests end."""
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
            now = time.monotonic()
            for descriptor, job in list(self.jobs.items()):
                if job.deadline <= now:
                    job.cause = TIMED_OUT.format(job.request["seconds"])
                    self.end(descriptor)

    def accept(self) -> bool:
        """Takes requests; False when there will be no more."""
        data = os.read(self.requests, READ_BYTES)
        self.buffer += data
        *lines, rest = self.buffer.split(b"\n")
        self.buffer = bytearray(rest)
        self.waiting.extend(json.loads(line) for line in lines)
        return bool(data)

    def start(self, request: dict[str, Any]) -> None:
        """Starts a program in a free slot."""
        slot = self.free.pop()
        job = Job(request, slot, self.memory_bytes)
        self.jobs[job.report] = job
        self.poll.register(job.report, select.POLLIN)

    def end(self, descriptor: int) -> None:
        """Ends the program that reports on `descriptor` and replies."""
        job = self.jobs.pop(descriptor)
        self.poll.unregister(descriptor)
        reply = {"id": job.request["id"], "outcomes": job.finish()}
        self.free.append(job.slot)
        data = memoryview(json.dumps(reply).encode() + b"\n")
        while data:
            data = data[os.write(self.replies, data) :]


def main() -> None:
    """Serves requests until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests, replies = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    settings = bytearray()
    while not settings.endswith(b"\n"):
        byte = os.read(requests, 1)
        if not byte:
            return
        settings += byte
    Runner(requests, replies, json.loads(settings)).serve()


if __name__ == "__main__":
    main()
