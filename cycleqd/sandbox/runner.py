"""Running programs that a model wrote."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from cycleqd.sandbox.channel import Channel
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.limits import Limits

GRACE_SECONDS = 30.0
START_SECONDS = 30.0
"""Until a program's process is confined, as the guest has it; not the program's time."""
PATIENCE = 9.0
"""So many times its own time a program may wait for a processor; as the guest has it."""
PROGRAM_INODES = 256
CAPABILITIES = ("DAC_OVERRIDE", "KILL", "SETGID", "SETUID")
"""What the supervisor needs to start programs as other users, end them and clear their directories."""
FIRST_UID, LAST_UID = 1_000_000_000, 2_000_000_000


class CallOutcome(NamedTuple):
    """What one call gave: a value or an error.

    Attributes:
        value: ``repr`` of what the entry point returned, written by the program: text to be parsed with
            `ast.literal_eval` and compared, never to be evaluated. None when there is an error.
        error: One line: the exception, or how the program ended. None when there is a value.
    """

    value: str | None
    error: str | None


class Place(NamedTuple):
    """Where one program at a time runs."""

    uid: int
    directory: str


def make_places(count: int) -> list[Place]:
    """Places with user ids that, drawn at random, no other container of this machine uses.

    The kernel counts the processes of a user over all containers (RLIMIT_NPROC), hence the draw.
    """
    first = FIRST_UID + secrets.randbelow(LAST_UID - FIRST_UID)
    return [Place(first + number, f"/work/{number}") for number in range(count)]


def tmpfs(places: Sequence[Place], limits: Limits) -> dict[str, str]:
    """A private directory for each place, bounded in bytes and entries, and no other place to leave anything."""
    size = f"size={limits.tmpfs_mb}m,nr_inodes={PROGRAM_INODES},nosuid,nodev,noexec"
    private = {place.directory: f"{size},mode=0700,uid={place.uid},gid={place.uid}" for place in places}
    return {**private, "/dev/shm": "size=4k,mode=0555", "/dev/mqueue": "size=4k,mode=0555"}  # noqa: S108 -- made unusable


class Container(NamedTuple):
    """A started guest.

    Attributes:
        channel: Its streams.
        remove: Removes it; idempotent.
    """

    channel: Channel
    remove: Callable[[], None]


def settings(places: Sequence[Place], limits: Limits, modules: Mapping[str, str]) -> bytes:
    """The guest's first request."""
    content = {
        "places": [place._asdict() for place in places],
        "memory_bytes": limits.memory_mb * 1024 * 1024,
        "threads": limits.pids,
        "modules": list(modules.items()),
    }
    return json.dumps(content).encode() + b"\n"


class ProgramRunner:
    """Runs programs, each in an unprivileged process of its own; thread-safe; a context manager.

    A program is one process: it may have `Limits.pids` threads, and fork is refused. It has `Limits.memory_mb` of
    address space, an empty directory, and no network. Its output is discarded. A container that died is replaced when
    the next program comes.

    Args:
        start: Starts a container with its guest.
        programs: How many run at a time.
        limits: Of a program.

    Raises:
        SandboxUnavailable: No container starts.
    """

    def __init__(self, start: Callable[[], Container], programs: int, limits: Limits) -> None:
        self._start = start
        self._limits = limits
        self._closed = False
        self._free = threading.Semaphore(programs)
        self._state = threading.Lock()
        self._container: Container | None = start()

    def run(
        self,
        source: str,
        *,
        entry_point: str,
        calls: Sequence[str],
        seconds: float | None = None,
        value_bytes: int | None = None,
        total_bytes: int | None = None,
    ) -> list[CallOutcome]:
        """Defines a program and calls one of its functions.

        Args:
            source: The program's text; whatever it does, only the outcomes change.
            entry_point: The name of the function that the program defines.
            calls: For each call the positional arguments, as the text of a literal tuple: ``"(1, 'a')"``.
            seconds: Wall-clock time for the whole program, positive; by default the limits'. Time in which it waits
                for a processor does not count, up to `PATIENCE` times as much.
            value_bytes: Longest value; `Limits.output_bytes` unless given.
            total_bytes: What the program may report in all, which has to fit into the container's memory; unless
                given, as much as its calls can amount to.

        Returns:
            One outcome a call, in order. Calls share the program's state.

        Raises:
            ValueError: `seconds` is not positive.
            SandboxUnavailable: The container is gone, or programs no longer start as they should in it. The next call
                gets a new one.
        """
        seconds = self._limits.program_seconds if seconds is None else seconds
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds must be positive, got {seconds}")
        payload = {
            "source": source,
            "entry_point": entry_point,
            "calls": list(calls),
            "seconds": seconds,
            "value_bytes": self._limits.output_bytes if value_bytes is None else value_bytes,
            "total_bytes": total_bytes,
        }
        # Waiting for a free place here keeps the queue out of the time-out.
        with self._free:
            container = self._living()
            try:
                most = (1 + PATIENCE) * seconds + 2 * START_SECONDS + GRACE_SECONDS
                reply = container.channel.request(payload, seconds=most)
                if "unusable" in reply:
                    raise SandboxUnavailable(f"the program runner can't go on: {reply['unusable']}")
            except BaseException:
                self._discard(container)
                raise
        return [CallOutcome(value, error) for value, error in reply["outcomes"]]

    @property
    def _channel(self) -> Channel:
        """The streams of the container that there is."""
        with self._state:
            if self._container is None:
                raise SandboxUnavailable("this program runner has no container")
            return self._container.channel

    def close(self) -> None:
        """Removes the container; idempotent."""
        with self._state:
            self._closed = True
            container, self._container = self._container, None
        if container is not None:
            container.remove()

    def _living(self) -> Container:
        """The container, or a new one in place of one that has ended."""
        with self._state:
            if self._closed:
                raise SandboxUnavailable("this program runner is closed")
            if self._container is not None and self._container.channel.ended:
                old, self._container = self._container, None
                old.remove()
            if self._container is None:
                self._container = self._start()
            return self._container

    def _discard(self, container: Container) -> None:
        with self._state:
            if self._container is container:
                self._container = None
        with contextlib.suppress(SandboxUnavailable):
            container.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
