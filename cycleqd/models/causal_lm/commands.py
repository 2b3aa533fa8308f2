"""Actions that one thread runs for others, and that end early when nobody waits for them any more."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

PATIENCE_SECONDS: Final = 20.0
"""For an interrupted action to end. A cancelled run has 30 s before Prefect's worker kills it."""
_REPEAT_SECONDS: Final = 5.0
"""From one interruption to the next: the first may be lost where an exception is ignored, as in ``__del__``."""


class Interrupted(BaseException):
    """Nobody waits for this action any more. No `Exception`: libraries must not take it for a fault of theirs."""


class Command:
    """An action that another thread is to run.

    Example:
        inbox.put(command)  # whose reader calls `command.run()`
        command.wait()

    Args:
        action: What is to be done.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._future: Future[None] = Future()
        self._lock = threading.Lock()
        self._thread: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the action has ended, or will not begin."""
        return self._future.done()

    def wait(self, patience: float = PATIENCE_SECONDS) -> None:
        """Waits for the end of the action.

        If this thread is interrupted meanwhile (Ctrl-C, a cancellation), so is the action: between two steps of its
        Python code `Interrupted` is raised there.

        Args:
            patience: Seconds that an interrupted action has to end; then it is left to itself.

        Raises:
            BaseException: What the action raised, or what interrupted this thread.
        """
        try:
            self._future.result()
        except BaseException:
            self._interrupt(patience)
            raise

    def run(self) -> None:
        """Runs the action and keeps what it raises for `wait`; to be called once, by the thread that is to run it."""
        fault: BaseException | None = None
        self._thread = threading.get_ident()
        try:
            if not self._future.set_running_or_notify_cancel():
                return
            self._action()
        except BaseException as error:
            fault = error
        while self._thread is not None:  # an interruption that comes late must not reach what this thread does next
            try:
                with self._lock:
                    _raise_in(self._thread, None)
                    self._thread = None
            except Interrupted:
                continue
        if fault is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(fault)

    def _interrupt(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        self._future.cancel()  # unless it has begun
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            with self._lock:
                if self._thread is not None:
                    _raise_in(self._thread, Interrupted)
            wait([self._future], min(left, _REPEAT_SECONDS))


def _raise_in(thread: int, fault: type[BaseException] | None) -> None:
    """Raises an exception in a thread, before the next step of its Python code; None takes back what is pending."""
    raised = None if fault is None else ctypes.py_object(fault)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
