"""The pool that owns every container of a run, and the reaper of containers whose owner died."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from cycleqd.machine.owner import (
    OWNER_LABEL,
    RUN_LABEL,
    current_owner,
    is_gone,
    is_of_this_boot,
    remove_orphaned_folders,
    temporary_folder,
)
from cycleqd.sandbox import database, runner, shell
from cycleqd.sandbox.channel import Channel, guest_command, guest_source
from cycleqd.sandbox.container_host import ContainerHost, FolderNotShared
from cycleqd.sandbox.database import PRODUCTS, DatabaseServer, Product, SharedFolder, ThroughTheEngine
from cycleqd.sandbox.errors import SandboxUnavailable
from cycleqd.sandbox.images import OPTIONAL_IMAGES, image_tag, image_tags
from cycleqd.sandbox.limits import Limits
from cycleqd.sandbox.runner import Container, ProgramRunner
from cycleqd.sandbox.shell import ShellSession

logger = logging.getLogger(__name__)

POOL_LABEL = "cycleqd.pool"
PROGRAMS = 2
"""Programs that a runner runs at a time."""
GUEST_MB = 64
"""Memory for a guest, and for what Docker itself mounts in memory."""
RUNNER_MB = 128
"""The same for the guest of a runner: two processes, requests and results."""
GUEST_PIDS = 8
"""Processes of a guest itself, beside those of its programs."""
STARTING_SECONDS = 600
"""For which a container that does not run yet may be about to."""
SERVER_UID = 64_999
"""Who the database server runs as where this process is root; else it runs as this process's user."""


class Sandboxes:
    """Owns every container of a run; a context manager; thread-safe.

    Containers are removed when their session closes, when this closes, and when this process ends in whatever way:
    Docker then closes their standard input, at which they end and are removed.

    Args:
        run_id: Becomes a label of every container.
        limits: Of every container.
        max_containers: Shell containers at a time, at least 1. Runners and database servers, few and long-lived,
            don't count.
        images: Docker image by name (``shell``, ``python``, ``mariadb``, ``evalplus``, or names of your own for
            `shell`), in place of those that ``make images`` builds. An image of a shell or for programs must have
            ``python3`` (3.9 or later).

    Raises:
        ValueError: `max_containers` is less than 1.
        SandboxUnavailable: No Docker engine answers.
    """

    def __init__(
        self,
        *,
        run_id: str,
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        max_containers: int = 4,
        images: Mapping[str, str] | None = None,
    ) -> None:
        if max_containers < 1:
            raise ValueError(f"max_containers must be at least 1, got {max_containers}")
        self._limits = limits
        self._images = dict(images or {})
        self._owner = current_owner()
        self._pid = os.getpid()
        self._pool = secrets.token_hex(8)
        self._labels = {RUN_LABEL: run_id, OWNER_LABEL: self._owner, POOL_LABEL: self._pool}
        self._state = threading.Condition()
        self._free = max_containers
        self._closed = False
        self._removals: dict[str, Callable[[], None]] = {}
        self._host = ContainerHost()
        self._shares_folders = True
        atexit.register(self._close_at_exit)

    def shell(self, *, image: str = "shell") -> ShellSession:
        """Starts a container with one bash; blocks until fewer than `max_containers` shells are open.

        Args:
            image: A name among the images, or the tag of somebody's own (`cycleqd.sandbox.own_images`), of which
                ``/root`` and ``/home`` are kept as they are.

        Raises:
            SandboxUnavailable: Docker can't, or this is closed.
        """
        with self._state:
            self._state.wait_for(lambda: self._free > 0 or self._closed)
            self._check_open()
            self._free -= 1
        try:
            source = shell.guest_program(self._limits)
            file_systems = shell.tmpfs(self._limits, homes=":" not in image)
            channel, remove = self._start(
                "shell",
                image,
                guest_command(source, "-I", "-S"),
                after=self._release,
                # Files in memory count as memory: without room for them, full file systems would end the guest.
                memory_mb=self._limits.memory_mb + len(file_systems) * self._limits.tmpfs_mb + GUEST_MB,
                pids=self._limits.pids,
                cpus=self._limits.cpus,
                file_mb=self._limits.tmpfs_mb,
                tmpfs=file_systems,
                capabilities=shell.CAPABILITIES,
                read_only=False,
                hidden=shell.HIDDEN,
            )
        except BaseException:
            self._release()
            raise
        with _removed_on_failure(remove):
            channel.send(source)
            return ShellSession(channel, self._limits, remove)

    def runner(
        self, *, image: str = "python", memory_mb: int | None = None, modules: Mapping[str, str] | None = None
    ) -> ProgramRunner:
        """Starts a container that runs programs, two at a time.

        Args:
            image: A name among the images.
            memory_mb: Address space of a program; unless given, that of the limits.
            modules: Text by name, ours, never a model's: modules that every program can import.

        Raises:
            SandboxUnavailable: Docker can't, or this is closed.
        """
        limits = self._limits if memory_mb is None else replace(self._limits, memory_mb=memory_mb)
        return ProgramRunner(partial(self._start_runner, image, limits, dict(modules or {})), PROGRAMS, limits)

    def _start_runner(self, image: str, limits: Limits, modules: Mapping[str, str]) -> Container:
        source = guest_source("runner", "confinement", "zygote")
        places = runner.make_places(PROGRAMS)
        channel, remove = self._start(
            "runner",
            image,
            guest_command(source, "-s"),
            memory_mb=PROGRAMS * (limits.memory_mb + limits.tmpfs_mb) + RUNNER_MB,
            pids=PROGRAMS * limits.pids + GUEST_PIDS,
            cpus=PROGRAMS * limits.cpus,
            file_mb=limits.tmpfs_mb,
            tmpfs=runner.tmpfs(places, limits),
            capabilities=runner.CAPABILITIES,
            # The order of sets is then the same every time, and with it what a program returns.
            environment={"PYTHONHASHSEED": "0"},
        )
        with _removed_on_failure(remove):
            channel.send(source)
            channel.send(runner.settings(places, limits, modules))
            return Container(channel, remove)

    def database(self, *, image: str = "mariadb") -> DatabaseServer:
        """Starts a database server and waits until it answers.

        Args:
            image: The product: ``mariadb`` or ``mysql``.

        Raises:
            ValueError: There is no such product.
            SandboxUnavailable: Docker can't, the server does not start, or this is closed.
        """
        if image not in PRODUCTS:
            raise ValueError(f"no database server is called {image!r}; there are {', '.join(PRODUCTS)}")
        if self._shares_folders:
            try:
                return self._served(PRODUCTS[image], SharedFolder(temporary_folder(), _server_uid()))
            except FolderNotShared:
                logger.info("the Docker engine sees no folder of this process: databases are reached through it")
                self._shares_folders = False
        return self._served(PRODUCTS[image], None)

    def _served(self, product: Product, shared: SharedFolder | None) -> DatabaseServer:
        """A server with its socket in a shared folder, or, where there is none, in its container alone."""
        uid = _server_uid()
        gid = uid if os.getuid() == 0 else os.getgid()
        owned = f"mode=0700,uid={uid},gid={gid},nosuid,nodev,noexec"
        tmpfs = {
            "/var/lib/mysql": f"size={product.data_mb}m,{owned}",
            "/tmp": f"size={product.temporary_mb}m,{owned}",  # noqa: S108 -- inside the container
        }
        if shared is None:
            tmpfs[database.SOCKET_MOUNT] = f"size=1m,{owned}"
        try:
            channel, remove = self._start(
                "database",
                product.image,
                ["/usr/local/bin/serve", *product.arguments(self._limits.command_seconds)],
                memory_mb=product.memory_mb + product.data_mb + product.temporary_mb,
                pids=database.PIDS,
                cpus=2 * self._limits.cpus,
                # Beyond the file systems: a full one is an error, a file that reaches this limit is a signal.
                file_mb=2 * product.data_mb,
                tmpfs=tmpfs,
                user=f"{uid}:{gid}",
                shared={database.SOCKET_MOUNT: str(shared.folder)} if shared else {},
            )
        except BaseException:
            if shared is not None:
                shared.close()
            raise
        way = shared or ThroughTheEngine(partial(self._host.execute, channel.name))
        server = DatabaseServer(product, channel, way, secrets.token_hex(16), self._limits, remove)
        with _removed_on_failure(server.close):
            server.wait()
            return server

    def close(self) -> None:
        """Removes every container by force; idempotent; waiting `shell` calls raise `SandboxUnavailable`.

        Raises:
            SandboxUnavailable: Docker no longer answers.
        """
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._state.notify_all()
            removals = list(self._removals.values())
        faults: list[SandboxUnavailable] = []
        for remove in [*removals, self._remove_stragglers]:
            try:
                remove()
            except SandboxUnavailable as fault:
                faults.append(fault)
        atexit.unregister(self._close_at_exit)
        self._host.close()
        if faults:
            raise faults[0]

    def _start(
        self, kind: str, image: str, command: list[str], *, after: Callable[[], None] | None = None, **options: Any
    ) -> tuple[Channel, Callable[[], None]]:
        """Starts a container; returns its streams and what removes it (idempotent)."""
        tag = self._tag(image)
        name = f"cycleqd-{kind}-{secrets.token_hex(6)}"
        streams: list[Channel | socket.socket] = []
        remove = partial(self._remove, name, streams, after)
        # Known before it exists: an interrupt during the calls leaves nothing behind.
        with self._state:
            self._check_open()
            self._removals[name] = remove
        try:
            stream = self._host.create(name, tag, command, labels=self._labels, **options)
            streams.append(stream)
            channel = Channel(stream, name)
            streams[:] = [channel]
            with self._state:
                self._check_open()
        except BaseException:
            # Not the caller's turn: it gives that back itself.
            with contextlib.suppress(SandboxUnavailable):
                self._remove(name, streams, None)
            raise
        return channel, remove

    def _remove(self, name: str, streams: list[Channel | socket.socket], after: Callable[[], None] | None) -> None:
        with self._state:
            if self._removals.pop(name, None) is None:
                return
        try:
            self._host.remove(name)
        finally:
            for stream in streams:
                stream.close()
            if after is not None:
                after()

    def _remove_stragglers(self) -> None:
        """Removes what an interrupted call left: Docker may finish creating what nobody waits for any more."""
        for entry in self._host.containers(f"{POOL_LABEL}={self._pool}"):
            self._host.remove(entry["Id"])

    def _release(self) -> None:
        with self._state:
            self._free += 1
            self._state.notify()

    def _tag(self, image: str) -> str:
        try:
            return self._images.get(image) or (image if ":" in image else image_tag(image))
        except FileNotFoundError as error:
            raise SandboxUnavailable(str(error)) from error

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxUnavailable("the sandboxes of this run are closed")

    def _close_at_exit(self) -> None:
        # A forked child inherits the registration, but not the containers.
        if os.getpid() == self._pid:
            with contextlib.suppress(SandboxUnavailable):
                self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _server_uid() -> int:
    return os.getuid() or SERVER_UID


@contextlib.contextmanager
def _removed_on_failure(remove: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(SandboxUnavailable):
            remove()
        raise


def missing_images(*needed: str) -> tuple[str, ...]:
    """The tags of the project's sandbox images that Docker does not have; ``make images`` builds them.

    Args:
        needed: The images that are needed beyond those of every run; an optional one that is not named is not missed.

    Raises:
        SandboxUnavailable: No Docker engine answers.
    """
    host = ContainerHost()
    try:
        return tuple(
            tag
            for name, tag in image_tags().items()
            if (name not in OPTIONAL_IMAGES or name in needed) and not host.has_image(tag)
        )
    finally:
        host.close()


def reap(run_id: str | None = None) -> int:
    """Removes orphaned sandbox containers and the temporary folders of processes that are gone.

    Args:
        run_id: Removes all containers of this run, whoever owns them. None: those whose owner no longer lives.

    Returns:
        The number of containers removed.

    Raises:
        SandboxUnavailable: No Docker engine answers.
    """
    host = ContainerHost()
    try:
        count = 0
        for entry in host.containers():
            labels = entry["Labels"]
            if _is_orphan(entry) if run_id is None else labels.get(RUN_LABEL) == run_id:
                logger.info("removing orphaned container %s of run %s", entry["Id"][:12], labels.get(RUN_LABEL))
                host.remove(entry["Id"])
                count += 1
    finally:
        host.close()
    remove_orphaned_folders()
    return count


def _is_orphan(entry: Mapping[str, Any]) -> bool:
    """Whether a container's owner no longer lives.

    One of another boot of a machine may be another machine's, alive, with whom this one shares a Docker engine. But
    none runs over a reboot of its own.
    """
    owner = entry["Labels"][OWNER_LABEL]
    if is_of_this_boot(owner) or not is_gone(owner):
        return is_gone(owner)
    created: float = entry["Created"]
    return entry["State"] != "running" and created < time.time() - STARTING_SECONDS
