"""What every flow that works on a run does around its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cycleqd.workspace import Workspace, opened
from tasks.crashed import mark_vanished
from tasks.server import machine_slots

_at_work: ContextVar[bool] = ContextVar("at_work", default=False)


@contextmanager
def at_work(storage: str, run_id: str) -> Iterator[Workspace]:
    """The workspace of a run, with this machine's engine and containers held for it.

    The outermost use also marks what a killed process left Running, and writes down where the time went.
    """
    with opened(storage, run_id) as ws:
        if _at_work.get():
            yield ws
            return
        mark_vanished(storage, run_id)
        token = _at_work.set(True)
        try:
            with machine_slots(ws.config.sandbox.max_containers):
                yield ws
        finally:
            _at_work.reset(token)
            if not ws.saved:  # a flow that reports has done it: what a report says is not to change after it
                ws.save_session()
