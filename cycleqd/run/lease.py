"""The lease of a run: at most one process writes to it.

The lease is the object ``lease.json`` in the run's folder. Its holder renews it until it is done and then removes
it. A lease that was not renewed for `TTL` seconds is void; on the same machine it is void at once when the holder's
process is gone.

Clocks: an expiry is written by the holder's clock and judged by the taker's. As long as the clocks of two machines
differ by less than `SKEW` seconds (any NTP does better by far), no lease is taken over while its holder believes in
it: the holder gives up at the expiry, the taker waits `SKEW` longer.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import ValidationError

from cycleqd.machine.owner import current_owner, is_gone
from cycleqd.run.names import LEASE_KEY
from cycleqd.run.records import Record, why_invalid
from cycleqd.run.store import RunStore
from cycleqd.storage import StoreError, open_filesystem
from cycleqd.storage.retrying import retrying
from cycleqd.storage.slot import Slot, Versioned, open_slot

log = logging.getLogger(__name__)

TTL = 60.0
"""Seconds that a lease lives without a renewal: long enough for a holder whose threads are starved while a model
loads, short enough to wait for after another machine died."""
SKEW = 10.0
"""Seconds by which the clocks of two machines may differ."""
RENEWALS = 4
"""Renewals per `TTL`."""
SETTLE = 1.0
"""Seconds until a put to a store without compare and swap is seen by everybody."""


class RunLocked(StoreError):
    """Another process writes to the run; the text says which one, and how to proceed."""


class LeaseLost(StoreError):
    """This process does not hold the run's lease any more and must not write to it."""


class LeaseRecord(Record):
    """What ``lease.json`` says.

    Attributes:
        host: Name of the holder's machine.
        pid: The holder's process id there.
        owner: The process as `cycleqd.machine.owner` names it: boot, process namespace, id and start time.
        token: Tells this holding of the lease from any other.
        acquired: ISO 8601, UTC, for people.
        expires: Seconds since the epoch by the holder's clock.
    """

    host: str
    pid: int
    owner: str
    token: str
    acquired: str
    expires: float

    @property
    def holder(self) -> str:
        """The holder, for people."""
        return f"process {self.pid} on {self.host}"

    def is_void(self, now: float) -> bool:
        """Whether another process may take the lease over."""
        boot = current_owner().partition(":")[0]
        # A holder on a machine with another boot id may be one that was rebooted or simply another one: wait.
        return now > self.expires + SKEW or (self.owner.startswith(f"{boot}:") and is_gone(self.owner))


class Lease:
    """A lease that this process holds, from `acquire` to `release`; a thread of its own keeps it alive.

    Attributes:
        record: What ``lease.json`` says, as of the last renewal.
    """

    def __init__(
        self, slot: Slot, held: Versioned, record: LeaseRecord, *, name: str, ttl: float, on_loss: Callable[[], None]
    ) -> None:
        self.record = record
        self._slot = slot
        self._held = held
        self._name = name
        self._ttl = ttl
        self._on_loss = on_loss
        self._lost = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"lease of {name}", daemon=True)
        self._keeper.start()

    @classmethod
    def acquire(cls, store: RunStore, *, on_loss: Callable[[], None] = lambda: None, ttl: float = TTL) -> Lease:
        """Takes the run's lease.

        Args:
            store: The run.
            on_loss: Called, from another thread, when the lease is lost.
            ttl: Seconds that it lives without a renewal.

        Raises:
            RunLocked: Another process holds it.
        """
        slot = _slot(store)
        found = retrying(f"read {store.url(LEASE_KEY)}", slot.read)
        if found is not None and not (other := _parse(found)).is_void(time.time()):
            raise _locked(store, other)
        now = time.time()
        record = LeaseRecord(
            host=socket.gethostname(),
            pid=os.getpid(),
            owner=current_owner(),
            token=uuid.uuid4().hex,
            acquired=datetime.now(UTC).isoformat(timespec="seconds"),
            expires=now + ttl,
        )
        granted = retrying(f"write {store.url(LEASE_KEY)}", lambda: slot.swap(_encode(record), found))
        if granted and not slot.certain:
            time.sleep(SETTLE)
        held = retrying(f"read {store.url(LEASE_KEY)}", slot.read)
        if held is None or held.content != _encode(record):
            if held is None:
                raise RunLocked(
                    f"run {store.run_id!r}: another process took and released its lease just now; start again"
                )
            raise _locked(store, _parse(held))
        if found is not None:
            log.warning("run %s: took over the lease of %s, which is gone", store.run_id, _parse(found).holder)
        return cls(slot, held, record, name=store.run_id, ttl=ttl, on_loss=on_loss)

    def check(self) -> None:
        """Makes sure that this process may write; asks the store again where the last renewal is too long ago.

        Raises:
            LeaseLost: It may not.
        """
        if not self._lost and time.time() >= self.record.expires:  # e.g. the machine slept
            self._renew()
        if self._lost:
            raise LeaseLost(
                f"run {self._name!r}: this process lost the run's lease and stops writing; what was finished is kept. "
                "Start the run again to continue it"
            )

    def release(self) -> None:
        """Gives the lease back; called twice it does nothing."""
        self._done.set()
        self._keeper.join()
        with self._lock:
            # Near the expiry somebody else may take over between look and removal.
            if self._lost or time.time() > self.record.expires - self._ttl / 10:
                return
            self._lost = True
            try:
                self._slot.remove(self._held)
            except OSError as error:
                log.warning("run %s: could not remove its lease, it will expire: %s", self._name, error)

    def _keep(self) -> None:
        while not self._done.wait(self._ttl / RENEWALS):
            self._renew()
            if self._lost:
                return

    def _renew(self) -> None:
        with self._lock:
            if self._lost:
                return
            renewed = self.record.model_copy(update={"expires": time.time() + self._ttl})
            try:
                found = self._slot.read()
                if found is None or _parse(found).token != self.record.token:
                    self._lose(f"it is now held by {_parse(found).holder}" if found else "it was removed")
                elif self._slot.swap(_encode(renewed), found):
                    self._held = self._slot.read() or self._held
                    self.record = renewed
                else:
                    self._lose("another process took it over")
            except Exception as error:  # the store may be back in time
                log.warning("run %s: could not renew its lease: %s", self._name, error)
                if time.time() >= self.record.expires:
                    self._lose(f"it expired unrenewed: {error}")

    def _lose(self, why: str) -> None:
        self._lost = True
        log.error("run %s: lease lost, %s; stopping without writing on", self._name, why)
        self._on_loss()


def current_lease(store: RunStore) -> LeaseRecord | None:
    """Who holds the run's lease, for reading commands; None where nobody does."""
    found = retrying(f"read {store.url(LEASE_KEY)}", _slot(store).read)
    record = _parse(found) if found else None
    return None if record is None or record.is_void(time.time()) else record


def _slot(store: RunStore) -> Slot:
    fs, root = open_filesystem(store.storage)
    return open_slot(fs, f"{root}/{store.run_id}/{LEASE_KEY}")


def _encode(record: LeaseRecord) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()


def _parse(found: Versioned) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(found.content)
    except ValidationError as error:
        raise RunLocked(
            f"{LEASE_KEY} is not a lease that this version can read ({why_invalid(error)}); if no process works on "
            "the run, remove the file and start again"
        ) from None


def _locked(store: RunStore, other: LeaseRecord) -> RunLocked:
    expires = datetime.fromtimestamp(other.expires, UTC).isoformat(timespec="seconds")
    return RunLocked(
        f"run {store.run_id!r} is being written to by {other.holder}, since {other.acquired}; its lease runs until "
        f"{expires} and is renewed while that process lives. Wait for it or stop it. If it is gone, start again after "
        f"that time (on its own machine: at once)"
    )
