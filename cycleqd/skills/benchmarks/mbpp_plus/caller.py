"""Calls a solution in the surroundings that evalplus gives it; this text runs inside the container.

What evalplus' ``eval/utils.py`` 0.3.1 does around a solution decides verdicts of odd ones, so it is done here, too:
nothing can be read from standard input, what is printed is kept from the terminal, some functions that would touch
the machine are missing, a module has no name of its own, and a call that is late gets an exception once, which the
solution may catch. The container does not rely on any of this.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from cycleqd.skills.benchmarks.mbpp_plus.exchange import compressed, decode, encode

FRAMES = 975
"""How deep a function may call itself: Python's 1,000 less what evalplus' workers need."""
MISSING = {
    builtins: "exit quit open help",
    os: (
        "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate replace "
        "unlink fchmod fchown chmod chown chroot lchflags lchmod lchown getcwd chdir"
    ),
    shutil: "rmtree move chown",
    subprocess: "Popen",
}
"""Functions that are None."""
LIBRARIES = ("numpy", "pandas", "sympy")
"""Are imported before what is missing is taken away, where a solution names them: evalplus' process has the first two
from the start."""
HIDDEN = ("ipdb", "joblib", "resource", "psutil", "tkinter")
"""Modules that can't be imported."""


class OutOfTime(Exception):
    """A call used up its time."""


class Silence(io.StringIO):
    """Takes what is printed; gives nothing."""

    def read(self, *_: object) -> str:
        """There is nothing to read."""
        raise OSError("there is no standard input")

    readline = readlines = read  # type: ignore[assignment]  # none of them returns

    def readable(self) -> bool:
        """It is not."""
        return False


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Standard input, output and errors are replaced."""
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdout = sys.stderr = Silence()
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def guard() -> None:
    """Takes away what evalplus takes away."""
    for module, functions in MISSING.items():
        for function in functions.split():
            setattr(module, function, None)
    for name in HIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks what can't be imported


class Clock:
    """Time that this process had: wall-clock time without what it waited for a processor.

    On an idle machine that is evalplus' wall-clock time; a busy machine fails nobody.
    """

    def __init__(self) -> None:
        try:
            self._account = os.open("/proc/self/schedstat", os.O_RDONLY)
        except OSError:  # the kernel keeps none
            self._account = -1
        self._read = os.pread
        self._now = time.perf_counter

    def seconds(self) -> float:
        """Seconds, since some moment."""
        try:
            waited = int(self._read(self._account, 256, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            waited = 0.0
        return self._now() - waited


def caller(
    source: str, entry_point: str, *, drain: bool = False, most: float = math.inf
) -> Callable[[str, float], str]:
    """Defines a program and makes its function callable with exchanged values.

    Args:
        source: The program.
        entry_point: Its function.
        drain: See `encode`.
        most: See `encode`.

    Returns:
        A function of the encoded list of arguments and the call's time in seconds; it returns, with spaces between
        them, the seconds used, the seconds for encoding the result, the length of the encoded result, and this as it
        travels. After a call that failed, the others are not made.

    Raises:
        NameError: The program does not define the entry point.
        BaseException: Whatever the program raises.
    """
    clock = Clock()
    tempfile.tempdir = os.environ.get("TMPDIR")  # known before, as in evalplus' process
    set_timer, set_handler = signal.setitimer, signal.signal
    for library in LIBRARIES:
        if library in source:
            with contextlib.suppress(ImportError):
                __import__(library)
    guard()
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + FRAMES + 4)
    # The process's own, of which things are missing: this module may have been given others of its own.
    namespace: dict[str, Any] = {"__builtins__": vars(builtins)}
    with silence():
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), namespace)  # noqa: S102 -- what this is for
    if entry_point not in namespace:
        raise NameError(f"name '{entry_point}' is not defined")
    function, usable = namespace[entry_point], True

    def call(arguments: str, seconds: float) -> str:
        nonlocal usable
        if not usable:
            raise RuntimeError("not called, as an earlier call failed")
        usable = False
        values, _ = decode(arguments)
        began = clock.seconds()

        def late(*_: object) -> None:
            left = seconds - (clock.seconds() - began)
            if left <= 0:
                raise OutOfTime("the call used up its time")
            set_timer(signal.ITIMER_REAL, max(left, 0.001))

        set_handler(signal.SIGALRM, late)
        set_timer(signal.ITIMER_REAL, seconds)
        try:
            with silence():
                result = function(*values)
        finally:
            set_timer(signal.ITIMER_REAL, 0)
        returned = clock.seconds()
        collecting = gc.isenabled()
        gc.disable()  # looking through millions of lists that are made takes longer than making them
        text = encode(result, drain=drain, most=most)
        sent = compressed(text)
        if collecting:
            gc.enable()
        usable = True
        return f"{max(0.0, returned - began):.4f} {max(0.0, clock.seconds() - returned):.4f} {len(text)} {sent}"

    return call
