"""The process that programs are forked from: it never reads a request, so no program finds another's in its memory.

Sent into the container beside `runner`. It is forked before the first request is read, gets messages that name places
and processes, and open files to hand on: each program reads its own request itself, from one of them.

Messages and answers, one JSON object a packet: ``{"start": place, "seconds"}`` with the files of the request and for
the report: ``{"pid"}``; ``{"wait": pid}``, for a process that was killed: ``{"status"}``; ``{"clear": place}``:
``{"status"}``. An answer may be ``{"fault": text}`` instead.
"""

from __future__ import annotations

import ast
import builtins
import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from cycleqd.sandbox.guest.confinement import Confinement, clear

READ_BYTES = 65_536
MESSAGE_BYTES = 4_096
MOST_FILES = 1024
ERROR_CHARACTERS = 500
MODULE = "candidate"
READY = b"confined\n"
"""What a report begins with: from here on the program writes it."""


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
    where = "" if line is None or f"line {line}" in text else f" (line {line})"
    return f"{name}: {text}"[:ERROR_CHARACTERS] + where


def program(request: dict[str, Any], report: int) -> None:
    """Defines the program, makes the calls, reports one line a call; runs inside the confined process."""
    # What the program may replace afterwards is bound here.
    dumps, literal, text_of, write, to_describe = json.dumps, ast.literal_eval, repr, os.write, described
    limit, fault, calls, length = request["value_bytes"], BaseException, request["calls"], len

    def tell(value: str | None, error: str | None) -> None:
        data = memoryview(dumps([value, error]).encode() + b"\n")
        while data:
            data = data[write(report, data) :]

    module = type(sys)(MODULE)
    sys.modules[MODULE] = module
    sys.stdin, sys.argv = open(os.devnull), [MODULE]  # noqa: SIM115 -- lives as long as the program
    try:
        # The program has its own `from __future__`, and none of this file's.
        code = compile(request["source"], f"<{MODULE}>", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 -- what this is for
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
            if length(value) > limit:
                tell(None, f"ValueError: the result is longer than {limit} characters")
            else:
                tell(value, None)
        except fault as error:
            tell(None, to_describe(error))


def run(place: dict[str, Any], seconds: float, files: list[int], confinement: Confinement) -> None:
    """A program's process, from its request to its end."""
    request, report = files
    text = bytearray()
    while data := os.read(request, READ_BYTES):
        text += data
    os.dup2(report, 3)
    os.closerange(4, MOST_FILES)
    try:
        confinement.enter(place, seconds)
    except BaseException as error:
        os.write(3, described(error).encode("utf-8", "replace"))
        return
    os.write(3, READY)
    program(json.loads(text), 3)


class Zygote:
    """The supervisor's end: starts the process and asks it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            try:
                kept = theirs.fileno()
                os.closerange(3, kept)
                os.closerange(kept + 1, MOST_FILES)
                load(settings["modules"])
                serve(theirs, Confinement(settings["memory_bytes"], settings["threads"]))
            finally:
                os._exit(0)
        theirs.close()

    def ask(self, message: dict[str, Any], files: tuple[int, ...] = ()) -> dict[str, Any]:
        """Sends a message and returns the answer.

        Raises:
            OSError: The process can't do it, or is gone.
        """
        socket.send_fds(self.socket, [json.dumps(message).encode()], files)
        data = self.socket.recv(MESSAGE_BYTES)
        if not data:
            raise OSError("the process that programs are forked from is gone")
        answer: dict[str, Any] = json.loads(data)
        if "fault" in answer:
            raise OSError(answer["fault"])
        return answer


def load(modules: list[list[str]]) -> None:
    """Makes modules, given by name and text, importable for every program, so that none has to compile them."""
    for name, text in modules:
        sys.modules[name] = type(sys)(name)
        # Of their own: what a program does to its builtins is no business of theirs.
        sys.modules[name].__dict__["__builtins__"] = dict(vars(builtins))
        exec(compile(text, name, "exec", dont_inherit=True), sys.modules[name].__dict__)  # noqa: S102 -- our own
    gc.collect()
    gc.freeze()  # else a program's first collection would copy all of this


def serve(channel: socket.socket, confinement: Confinement) -> None:
    """Answers messages until there are no more."""
    while True:
        data, files, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 2)
        if not data:
            return
        message = json.loads(data)
        try:
            answer = _answer(message, files, confinement)
        except OSError as error:
            answer = {"fault": str(error)}
        for file in files:
            os.close(file)
        channel.send(json.dumps(answer).encode())


def _answer(message: dict[str, Any], files: list[int], confinement: Confinement) -> dict[str, Any]:
    if "start" in message:
        return {"pid": _forked(lambda: run(message["start"], message["seconds"], files, confinement))}
    pid = message["wait"] if "wait" in message else _forked(lambda: clear(message["clear"]))
    return {"status": os.waitpid(pid, 0)[1]}


def _forked(work: Callable[[], None]) -> int:
    leave = os._exit  # the program may replace it
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            leave(status)
    return pid
