"""Keeps the trackers of a run up to date with its records."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cycleqd.config import TrackerConfig
from cycleqd.experts import TrainingSummary
from cycleqd.report.history import progress_of, replay
from cycleqd.report.summary import Summary
from cycleqd.report.write import read_summary
from cycleqd.run.names import (
    ALL_DATA,
    CHECKPOINT_KEY,
    REFINED,
    REPORT_KEY,
    SUMMARY_KEY,
    TRACKING_KEY,
    expert_key,
)
from cycleqd.run.records import GenerationRecord
from cycleqd.run.store import RunStore, StoreError
from cycleqd.seams import TRACKERS
from cycleqd.search.archive import Archives
from cycleqd.telemetry.events import event
from cycleqd.tracking import measures
from cycleqd.tracking.protocol import Identity, Log, Row, Tracker, TrackerMissing, missing
from cycleqd.urls import without_credentials

PATIENCE_SECONDS = 300.0
"""After a tracker failed, it is left alone for so long: asking one that does not answer takes a minute each time."""

log = logging.getLogger(__name__)


class Following:
    """The trackers of a run.

    A tracker that fails costs the run nothing: it is told, and later the tracker gets what it missed.

    Args:
        store: The run, whose lease this process holds.
        trackers: Each with its name.
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(
        self, store: RunStore, trackers: Sequence[tuple[str, Tracker]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        run = identity(store)
        self._followers = [_Follower(name, tracker, run, clock) for name, tracker in trackers]

    def begin(self) -> None:
        """Opens all trackers and tells them what they lack of the run."""
        self._tell([])

    def trained(self, name: str, summary: TrainingSummary) -> None:
        """Tells an expert's losses; its summary must be in the store."""
        self._tell(measures.losses(name, summary))

    def committed(self, record: GenerationRecord, archives: Archives) -> None:
        """Tells a generation; its commit record must be in the store.

        Args:
            record: The commit record.
            archives: As they are after it.
        """
        self._tell([measures.generation(record, progress_of(archives))])

    def reported(self, summary: Summary) -> None:
        """Tells the final scores, and where report and final model lie; the report must be in the store."""
        self._tell([measures.final(summary)], self._links())

    def end(self, *, failed: bool) -> None:
        """Ends this start of the run."""
        for follower in self._followers:
            follower.end(self._begun, failed=failed)

    def _tell(self, rows: Sequence[Row], links: Mapping[str, str] | None = None) -> None:
        for follower in self._followers:
            follower.tell(rows, links or {}, self._begun)

    def _begun(self, opened: Log) -> None:
        opened.describe(measures.flat(self._store.config().model_dump(mode="json")))
        opened.link({"run": _address(self._store)})
        opened.add(everything(self._store))
        if self._store.exists(SUMMARY_KEY):
            opened.link(self._links())

    def _links(self) -> dict[str, str]:
        keys = {"run": "", "report": REPORT_KEY, "model": CHECKPOINT_KEY}
        return {name: _address(self._store, key) for name, key in keys.items()}


class _Follower:
    """One tracker, opened when there is something to tell, and again after it failed."""

    def __init__(self, name: str, tracker: Tracker, run: Identity, clock: Callable[[], float]) -> None:
        self._name, self._tracker, self._run, self._clock = name, tracker, run, clock
        self._log: Log | None = None
        self._not_before = float("-inf")

    def tell(self, rows: Sequence[Row], links: Mapping[str, str], begin: Callable[[Log], None]) -> None:
        if self._clock() < self._not_before:
            return
        try:
            if self._log is None:
                self._log = self._tracker.open(self._run)
                begin(self._log)  # which tells all that the records have, these rows among them
                event("tracked", tracker=self._name, address=self._log.address)
            self._log.add(rows)
            if links:
                self._log.link(links)
        except Exception as error:
            self._log = None  # when it is opened again, it is asked anew what it has
            self._not_before = self._clock() + PATIENCE_SECONDS
            self._complain(error, f"it gets what it missed when it answers again, not before {PATIENCE_SECONDS:.0f} s")

    def end(self, begin: Callable[[Log], None], *, failed: bool) -> None:
        if self._log is None:  # it failed: this is the last time that it is asked
            self._not_before = float("-inf")
            self.tell([], {}, begin)
        opened, self._log = self._log, None
        try:
            if opened is not None:
                opened.close(failed=failed)
        except Exception as error:
            self._complain(error, "this start was not ended there")

    def _complain(self, error: Exception, then: str) -> None:
        text = without_credentials(" ".join(str(error).split()))
        log.warning(
            "the tracker %s failed (%s: %.300s); the run goes on, %s", self._name, type(error).__name__, text, then
        )


@contextmanager
def following(store: RunStore, trackers: Sequence[TrackerConfig]) -> Iterator[Following | None]:
    """The trackers of a run for the time of a start; None where the configuration names none.

    Args:
        store: The run, whose lease this process holds.
        trackers: What the configuration says.

    Raises:
        TrackerMissing: The package of one is not installed.
    """
    made = made_of(trackers)
    if not made:
        yield None
        return
    followed = Following(store, made)
    followed.begin()
    failed = True
    try:
        yield followed
        failed = False
    finally:
        followed.end(failed=failed)


def made_of(trackers: Sequence[TrackerConfig]) -> list[tuple[str, Tracker]]:
    """The trackers that a configuration names.

    Raises:
        TrackerMissing: The package of one is not installed.
    """
    made: list[tuple[str, Tracker]] = [(one.kind, TRACKERS.make(one.kind, **one.settings)) for one in trackers]
    if lacking := [text for kind, tracker in made if (text := missing(kind, tracker))]:
        raise TrackerMissing("; ".join(lacking))
    return made


def identity(store: RunStore) -> Identity:
    """Which run of a tracker this one is: what its folder says, or what is drawn now and written there."""
    if not store.exists(TRACKING_KEY):
        store.write_json(TRACKING_KEY, {"key": f"{store.run_id}-{uuid.uuid4().hex[:8]}"})
    return Identity(store.run_id, store.read_json(TRACKING_KEY)["key"])


def everything(store: RunStore) -> list[Row]:
    """All that the records of a run say, as a tracker gets it."""
    rows: list[Row] = []
    for name in (*store.config().skill_names, ALL_DATA, REFINED):
        if store.exists(key := expert_key(name, "summary.json")):
            rows += measures.losses(name, store.fields(TrainingSummary, key))
    history = replay(store)
    rows += map(measures.generation, history.children, history.progress[1:])
    with suppress(StoreError):  # there is no report yet, or one of another version
        rows.append(measures.final(read_summary(store)))
    return rows


def _address(store: RunStore, key: str = "") -> str:
    return str(Path(store.url(key)).absolute()) if store.is_local else store.url(key)
