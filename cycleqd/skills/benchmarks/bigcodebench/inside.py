"""What runs in a problem's container: a solution with its tests in one process, and a parent that waits for it.

The parent is root and prints one line of JSON, ``{"passed", "reason"}``. The child is nobody, and what it prints goes
nowhere. It says how the tests went through a pipe, behind a word that only the parent and its own first lines know.
Like in BigCodeBench, solution and tests share that process: a program that is made to deceive them can.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from typing import Any

NOBODY = 65534
MOST_BYTES = 1 << 20
"""Of what the child says."""
SHOWN = 160


def main(own: str, code: str, test: str, seconds: float) -> None:
    """The parent: prints the verdict on a solution.

    Args:
        own: This text.
        code: The solution.
        test: Defines ``TestCases``, a class of unit tests.
        seconds: Wall-clock time for all of it.
    """
    place = tempfile.mkdtemp(prefix="problem-")
    os.chown(place, NOBODY, NOBODY)
    source = place + ".py"
    with open(source, "w", encoding="utf-8") as file:
        file.write(f"{own}\nchild()\n")
    os.chmod(source, 0o444)
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ},
        **{"HOME": place, "TZ": "UTC", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        **{"TF_ENABLE_ONEDNN_OPTS": "0", "MPLBACKEND": "Agg", "MPLCONFIGDIR": place, "PYTHONHASHSEED": "0"},
    }
    process: Any = subprocess.Popen(  # noqa: S603 -- no shell
        [sys.executable, source, str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place,
        env=environment,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        pass_fds=(writing,),
        start_new_session=True,
    )
    os.close(writing)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"code": code, "test": test, "word": word}).encode())
        process.stdin.close()
    said, late = _heard(reading, time.monotonic() + seconds)
    status = process.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(_verdict(said, word, late, seconds, status)))


def _heard(reading: int, deadline: float) -> tuple[bytes, bool]:
    """What comes through the pipe until its end, and whether the time was up before."""
    said = b""
    while len(said) < MOST_BYTES:
        if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return said, True
        data = os.read(reading, 65536)
        if not data:
            break
        said += data
        if said.endswith(b"\n"):  # a process that it started may hold the pipe open
            break
    return said, False


def _verdict(said: bytes, word: str, late: bool, seconds: float, status: int | None) -> dict[str, Any]:
    for line in said.split(b"\n"):
        start, _, rest = line.partition(b" ")
        if start == word.encode():
            return dict(json.loads(rest))
    if late:
        return {"passed": False, "reason": f"not within {seconds:g} s"}
    return {"passed": False, "reason": f"the program ended before its tests did (status {status})"}


def child() -> None:
    """Defines the solution and the tests in one module, runs the tests, and says how they went."""
    writing = int(sys.argv[1])
    asked = json.loads(sys.stdin.buffer.read())
    sys.stdin = open(os.devnull)  # noqa: SIM115 -- for the process' life
    sys.argv = ["__test__.py"]
    word, asked["word"] = asked["word"], None
    try:
        told = _tested(asked["code"], asked["test"])
    except BaseException as error:
        told = {"passed": False, "reason": f"{type(error).__name__}: {error}"[:SHOWN]}
    os.write(writing, f"{word} {json.dumps(told)}\n".encode())
    os._exit(0)  # whatever threads it left


def _tested(code: str, test: str) -> dict[str, Any]:
    import builtins

    builtins.exit = builtins.quit = None  # type: ignore[assignment]
    module: Any = types.ModuleType("__test__")
    module.__dict__.update({"__builtins__": builtins, "__file__": "__test__.py", "sys": sys, "os": os})
    module.__dict__["environ"] = os.environ
    sys.modules["__test__"] = module
    exec(compile(f"{code}\n{test}", "__test__.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 -- here is the sandbox
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(module.TestCases).run(result)
    for case, trace in result.failures + result.errors:
        return {"passed": False, "reason": f"{case.id().rpartition('.')[2]}: {_fault(trace)}"[:SHOWN]}
    return {"passed": result.testsRun > 0, "reason": f"{result.testsRun} tests"}


def _fault(trace: str) -> str:
    """The line of a traceback that names the exception: behind it may stand a comparison of many lines."""
    lines = trace.splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("  File ")), default=0)
    return next((line for line in lines[last:] if line[:1] not in ("", " ")), "")
