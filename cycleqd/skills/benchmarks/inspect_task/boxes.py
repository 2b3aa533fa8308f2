"""The sandboxes of inspect_ai's tasks: this project's containers, without network, within limits."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from typing import Any, Final

from cycleqd.sandbox import Sandboxes, SandboxUnavailable, ShellSession

HOME: Final = "/work"
"""Where a sample's files lie and its commands run."""
MOST_BYTES: Final = 1024 * 1024
"""Of a command's output, each stream, and of a file that is read."""
SECONDS: Final = 60
"""For a command without a limit of its own."""
_MARGIN: Final = 30.0

_GUEST: Final = """
import base64, json, os, signal, subprocess, sys, tempfile
def stream(file):
    size = file.tell()
    file.seek(0)
    return base64.b64encode(file.read(MOST + 1)).decode(), size
def act():
    if OPERATION == "open":
        os.makedirs(HOME, exist_ok=True)
        return {}
    if OPERATION == "exec":
        environment = {**os.environ, "HOME": "/root", **ARGUMENTS["env"]}
        where = os.path.join(HOME, ARGUMENTS["cwd"] or "")
        given = base64.b64decode(ARGUMENTS["input"] or "")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as into:
            into.write(given)
            into.seek(0)
            who = ARGUMENTS["user"]
            who = int(who) if who and who.isdigit() else who
            try:
                process = subprocess.Popen(ARGUMENTS["cmd"], cwd=where, env=environment, stdin=into, stdout=out,
                                           stderr=err, start_new_session=True, user=who)
            except FileNotFoundError as error:
                if not os.path.isdir(where):
                    raise
                return {"returncode": 127, "stdout": "", "stderr": base64.b64encode(str(error).encode()).decode()}
            try:
                code = process.wait(ARGUMENTS["timeout"])
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise TimeoutError("the command did not end within %s s" % ARGUMENTS["timeout"])
            out.seek(0, 2), err.seek(0, 2)
            (said, much), (wrong, more) = stream(out), stream(err)
            if max(much, more) > MOST:
                return {"error": ["OutputLimitExceededError", "%d bytes" % MOST]}
            return {"returncode": code if code >= 0 else 128 - code, "stdout": said, "stderr": wrong}
    path = os.path.join(HOME, ARGUMENTS["file"])
    if OPERATION == "write":
        if os.path.isdir(path):
            raise IsADirectoryError(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(ARGUMENTS["content"]))
        return {}
    if os.path.getsize(path) > MOST and os.path.isfile(path):
        return {"error": ["OutputLimitExceededError", "%d bytes" % MOST]}
    with open(path, "rb") as file:
        return {"content": base64.b64encode(file.read(MOST)).decode()}
try:
    answer = act()
except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError) as error:
    answer = {"error": [type(error).__name__, str(error)]}
print(json.dumps(answer))
"""


class BoxFault(Exception):
    """What a command or a file is at fault for, by the name of inspect_ai's exception.

    Args:
        kind: The exception's name.
        text: What is wrong.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class Boxes:
    """The containers of one evaluation, by number; thread-safe for different numbers."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        self._lock = threading.Lock()
        self._open: dict[int, ShellSession] = {}
        self._closed = False

    def act(self, number: int, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Does what a task asks of a sandbox: ``open``, ``exec``, ``write``, ``read`` or ``close``.

        Raises:
            BoxFault: As the task's code expects it of a sandbox.
            SandboxUnavailable: The container is gone, or none can be had.
        """
        if operation == "close":
            self._forget(number)
            return {}
        if operation == "open":
            shell = self._sandboxes.shell()
            with self._lock:
                if not self._closed:
                    self._open[number] = shell
            if self._closed:
                shell.close()
        with self._lock:
            session = self._open.get(number)
        if session is None:
            raise SandboxUnavailable("the sandbox of this sample is closed")
        given = dict(arguments)
        if operation == "exec":
            given["timeout"] = given["timeout"] or SECONDS
        return _answer(session, operation, given)

    def close(self) -> None:
        """Removes all containers."""
        with self._lock:
            self._closed = True
            numbers = list(self._open)
        for number in numbers:
            self._forget(number)

    def _forget(self, number: int) -> None:
        with self._lock:
            shell = self._open.pop(number, None)
        if shell is not None:
            shell.close()


def _answer(session: ShellSession, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = {"OPERATION": operation, "ARGUMENTS": arguments, "HOME": HOME, "MOST": MOST_BYTES}
    code = f"import json\nglobals().update(json.loads({json.dumps(facts)!r}))\n{_GUEST}"
    done = session.script(code, language="python", timeout=(arguments.get("timeout") or SECONDS) + _MARGIN)
    if done.timed_out:
        raise BoxFault("TimeoutError", "the container did not answer in time")
    try:
        answer = json.loads(done.output.strip().splitlines()[-1])
        if not isinstance(answer, dict):
            raise ValueError("no object")
        if error := answer.get("error"):
            raise BoxFault(str(error[0]), str(error[1]))
        return _checked(operation, answer)
    except (ValueError, LookupError, TypeError):
        # A model may have changed the container's Python. Its commands fail then.
        raise BoxFault("RuntimeError", f"the container gave no answer: {done.output[:200]}") from None


def _checked(operation: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a container that may be the model's own by now."""
    if operation == "exec":
        return {
            "returncode": int(answer["returncode"]),
            **{name: base64.b64decode(answer[name]).decode(errors="replace") for name in ("stdout", "stderr")},
        }
    if operation == "read":
        return {"content": base64.b64encode(base64.b64decode(answer["content"])).decode()}
    return {}
