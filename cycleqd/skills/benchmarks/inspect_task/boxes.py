"""The sandboxes of inspect_ai's tasks: this project's containers, without network, within limits."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cycleqd.sandbox import Sandboxes, SandboxUnavailable, ShellSession
from cycleqd.skills.benchmarks.inspect_task.surroundings import Surroundings

HOME: Final = "/work"
"""Where a sample's files lie and its commands run, unless the task has an image of its own."""
MOST_BYTES: Final = 1024 * 1024
"""Of a command's output, each stream, and of a file that is read."""
SECONDS: Final = 60
"""For a command without a limit of its own."""
_MARGIN: Final = 30.0

_GUEST: Final = """
import base64, json, os, pwd, shutil, signal, subprocess, sys, tempfile
def parts(text):
    who, _, group = (text or "").partition(":")
    who, group = (int(one) if one.isdigit() else one or None for one in (who, group))
    if who is not None and group is None:
        try:
            group = (pwd.getpwuid if isinstance(who, int) else pwd.getpwnam)(who).pw_gid
        except KeyError:
            group = who if isinstance(who, int) else None
    return who, group
def home(who):
    try:
        return (pwd.getpwuid if isinstance(who, int) else pwd.getpwnam)(who).pw_dir
    except KeyError:
        return "/"
def stream(file):
    size = file.tell()
    file.seek(0)
    return base64.b64encode(file.read(MOST + 1)).decode(), size
def act():
    if OPERATION == "open":
        os.makedirs(HOME, exist_ok=True)
        return {}
    if OPERATION == "exec":
        environment = {**(VARIABLES or {**os.environ, "HOME": "/root"}), **ARGUMENTS["env"]}
        who, group = parts(ARGUMENTS["user"] or USER)
        environment.setdefault("HOME", home(who or 0))
        where = os.path.join(HOME, ARGUMENTS["cwd"] or "")
        given = base64.b64decode(ARGUMENTS["input"] or "")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as into:
            into.write(given)
            into.seek(0)
            try:
                process = subprocess.Popen(ARGUMENTS["cmd"], cwd=where, env=environment, stdin=into, stdout=out,
                                           stderr=err, start_new_session=True, user=who, group=group)
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
        if USER:
            who, group = parts(USER)
            shutil.chown(path, who, group)
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


class Place(NamedTuple):
    """Where commands run in a container, and how.

    Attributes:
        image: The image's name, or its tag.
        directory: Their working directory.
        variables: Their environment; empty is the container's.
        user: Who runs them; empty is root.
    """

    image: str = "shell"
    directory: str = HOME
    variables: Mapping[str, str] = {}
    user: str = ""


def place_of(surroundings: Surroundings) -> Place:
    """Where commands run in an image of the task's own, which is made where Docker does not have it.

    Raises:
        SandboxUnavailable: It cannot be made, or no sandbox can use it.
    """
    surroundings.image.ensure()
    facts = surroundings.image.facts()
    return Place(
        surroundings.image.tag,
        facts.directory if surroundings.directory is None else surroundings.directory,
        {**facts.environment, **surroundings.environment},
        facts.user if surroundings.user is None else surroundings.user,
    )


class Boxes:
    """The containers of one evaluation, by number; thread-safe for different numbers.

    Args:
        sandboxes: Where they come from.
        own: Of samples by key, where the task has an image of its own.
    """

    def __init__(self, sandboxes: Sandboxes, own: Mapping[str, Surroundings]) -> None:
        self._sandboxes = sandboxes
        self._own = own
        self._lock = threading.Lock()
        self._open: dict[int, tuple[ShellSession, Place]] = {}
        self._closed = False

    def act(self, key: str, number: int, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Does what a task asks of a sample's sandbox: ``open``, ``exec``, ``write``, ``read`` or ``close``.

        Args:
            key: The sample.
            number: Its sandbox.
            operation: What to do.
            arguments: As the worker's stand-in gives them.

        Raises:
            BoxFault: As the task's code expects it of a sandbox.
            SandboxUnavailable: The container is gone, or none can be had.
        """
        if operation == "close":
            self._forget(number)
            return {}
        if operation == "open":
            place = place_of(self._own[key]) if key in self._own else Place()
            shell = self._sandboxes.shell(image=place.image)
            with self._lock:
                if not self._closed:
                    self._open[number] = shell, place
            if self._closed:
                shell.close()
        with self._lock:
            found = self._open.get(number)
        if found is None:
            raise SandboxUnavailable("the sandbox of this sample is closed")
        given = dict(arguments)
        if operation == "exec":
            given["timeout"] = given["timeout"] or SECONDS
        return _answer(*found, operation, given)

    def close(self) -> None:
        """Removes all containers."""
        with self._lock:
            self._closed = True
            numbers = list(self._open)
        for number in numbers:
            self._forget(number)

    def _forget(self, number: int) -> None:
        with self._lock:
            found = self._open.pop(number, None)
        if found is not None:
            found[0].close()


def _answer(session: ShellSession, place: Place, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = {
        "OPERATION": operation,
        "ARGUMENTS": arguments,
        "HOME": place.directory,
        "VARIABLES": dict(place.variables),
        "USER": place.user,
        "MOST": MOST_BYTES,
    }
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
