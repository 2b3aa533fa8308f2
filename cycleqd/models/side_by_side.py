"""Trainings of one process, side by side: each computes with its share of the threads.

Small models gain little from a second thread: the demo's trainings learned 306 to 349 tokens a second on two threads,
and 184 to 216 on one with another beside. Building a model is for one training alone, as it changes what is global
for a moment: torch's generator, its default type, how layers are initialised. So is whatever imports parts of
transformers, which come when they are asked for: where two threads asked at once, one was told that there is no such
part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

import torch


class Gate:
    """Lets several threads step, or one build while nobody steps; who wants to build comes first."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._stepping = 0
        self._waiting = 0
        self._building = False

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """The block runs while nobody builds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._building and not self._waiting)
            self._stepping += 1
        try:
            yield
        finally:
            with self._changed:
                self._stepping -= 1
                self._changed.notify_all()

    @contextmanager
    def building(self) -> Iterator[None]:
        """The block runs alone."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._building and not self._stepping)
                self._building = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._building = False
                self._changed.notify_all()


GATE = Gate()
"""Of all trainings of this process."""

_lock = Lock()
_sharing = 0
_threads = 0


@contextmanager
def share_of_threads(of: int) -> Iterator[None]:
    """Runs torch on a share of this process' threads inside the block.

    The share is the same for everyone who has one, also when the others are done: results depend on it in their last
    bits.

    Args:
        of: How many shares there are, at least 1; 1 changes nothing.
    """
    global _sharing, _threads
    if of == 1:
        yield
        return
    with _lock:
        if not _sharing:
            _threads = torch.get_num_threads()
        _sharing += 1
        torch.set_num_threads(max(1, _threads // of))
        # A thread that computes for the first time takes the number that was set last, by whomever. This is the first.
        torch.get_num_threads()
    try:
        yield
    finally:
        with _lock:
            _sharing -= 1
            torch.set_num_threads(_threads)
