"""What every flow that works on a run does around its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cycleqd.config import RunConfig
from cycleqd.run.finding import find_run
from cycleqd.run.names import RunRef
from cycleqd.steps.admission import admit
from cycleqd.steps.workspace import Workspace, opened
from cycleqd.tracking.following import following, made_of
from tasks import refusals  # noqa: F401 -- how a refusal is logged
from tasks.announcing import announced
from tasks.crashed import mark_vanished
from tasks.server import machine_slots
from tasks.suspending import paused_with_its_parent
from tasks.tags import run_tag, tag_flow

_at_work: ContextVar[bool] = ContextVar("at_work", default=False)


@contextmanager
def at_work(run: RunRef, config: RunConfig | None = None, *, rescore: bool = False) -> Iterator[Workspace]:
    """The workspace of a run, with this machine's engine and containers held for it.

    The flow run is tagged with the run's id. The outermost use also holds the run's base model and scores against what
    this process has, marks what a killed process left Running, and writes down where the time went.

    Args:
        run: The run.
        config: What this start asks for, of which the settings that may change are kept.
        rescore: Set scores that this process would not repeat aside, instead of refusing them.

    Raises:
        RunUnknown: There is no such run, and the outermost use gave no configuration to begin it with.
        BaseDiffers: The base model is not the one that the run began with.
        OtherScores: The run has scores that this process would not repeat.
        TrackerMissing: The package of a tracker is not installed.
    """
    if config is None and not _at_work.get():
        find_run(run.run_id, run.storage)  # before a lease is written for it
    tag_flow(run_tag(run))
    with paused_with_its_parent(), opened(run) as ws:
        if _at_work.get():
            yield ws
            return
        with announced(ws.store):
            mark_vanished(run)
            if config is not None and rescore:
                ws.adopt(config, rescore=True)  # ahead of the admission: scores depend on what may differ then
            admit(ws, rescore=rescore)
            if config is not None and not rescore:
                ws.adopt(config)
            made_of(ws.config.trackers)  # before the run waits for anything
            token = _at_work.set(True)
            try:
                slots = machine_slots(ws.config.sandbox.max_containers)
                with slots, following(ws.store, ws.config.trackers) as ws.tracking:
                    yield ws
            finally:
                _at_work.reset(token)
                ws.tracking = None
                if not ws.saved:  # a flow that reports has done it: what a report says is not to change after it
                    ws.save_session()
