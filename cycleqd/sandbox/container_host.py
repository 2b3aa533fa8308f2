"""The Docker engine: the few calls that sandboxes need, each with a time-out, each fault a `SandboxUnavailable`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from cycleqd.machine.owner import OWNER_LABEL, RUN_LABEL
from cycleqd.sandbox.errors import SandboxUnavailable

CALL_SECONDS = 60
"""Time-out of one call of Docker; a create takes 0.1 s on an idle machine."""
CONNECTIONS = 32
SYSCTLS = {
    "kernel.shmmni": "0",
    "kernel.msgmni": "0",
    "kernel.sem": "250 32000 32 0",
    "fs.mqueue.queues_max": "0",
}
"""No shared memory, queue or semaphore that outlives the processes that use it, and counts as nobody's memory."""

HIDDEN = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
"""What Docker hides by default in every container; whoever hides more must name these, too."""

NO_ENGINE = (
    "the Docker engine does not answer ({error}): start it with infra/setup_docker.sh, "
    "or see that this user may use its socket (group 'docker')"
)


@contextmanager
def _as_unavailable(doing: str) -> Iterator[None]:
    """Turns the Docker SDK's exceptions into `SandboxUnavailable`."""
    try:
        yield
    except ImageNotFound as error:
        raise SandboxUnavailable(f"{doing}: the sandbox image is missing ({error.explanation}); run 'make images'") \
            from error  # fmt: skip
    except APIError as error:
        kind = FolderNotShared if NOT_SHARED in str(error.explanation) else SandboxUnavailable
        raise kind(f"{doing}: the Docker engine refused: {error.explanation or error}") from error
    except (DockerException, requests.exceptions.RequestException, OSError) as error:
        raise SandboxUnavailable(f"{doing}: " + NO_ENGINE.format(error=error)) from error


NOT_SHARED = "bind source path does not exist"
"""What the engine says of a folder that is not on its host."""


class FolderNotShared(SandboxUnavailable):
    """The engine does not see a folder of this process: it is on another host, or this process in a container."""


class ContainerHost:
    """A connection to the Docker engine named by the environment (``DOCKER_HOST``); thread-safe.

    Raises:
        SandboxUnavailable: No Docker engine answers.
    """

    def __init__(self) -> None:
        with _as_unavailable("connecting"):
            self._client = docker.from_env(timeout=CALL_SECONDS, max_pool_size=CONNECTIONS)
            self._api = self._client.api

    @cached_property
    def cpus(self) -> float:
        """Cores of Docker's machine, of which no container may have more.

        Raises:
            SandboxUnavailable: Docker can't tell.
        """
        with _as_unavailable("asking for the number of CPUs"):
            return float(self._api.info()["NCPU"])

    def create(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        *,
        labels: Mapping[str, str],
        memory_mb: int,
        pids: int,
        cpus: float,
        file_mb: int,
        tmpfs: Mapping[str, str],
        capabilities: Sequence[str] = (),
        user: str | None = None,
        shared: Mapping[str, str] | None = None,
        read_only: bool = True,
        environment: Mapping[str, str] | None = None,
        hidden: Sequence[str] = (),
    ) -> socket.socket:
        """Creates and starts a container without network and returns the socket of its standard streams.

        There is a loopback interface; /etc/hosts, which would name it, is the image's and mostly empty: a network
        of Docker's, even the kind ``none``, would double the time of the start. Docker removes the container
        by itself when its first process ends, and closes its standard input when the socket is closed, e.g. because
        the process that owns it died.

        Args:
            name: The container's name.
            image: A tag that Docker has.
            command: The first process.
            labels: Run and owner.
            memory_mb: Memory in MiB, swap included.
            pids: Processes and threads.
            cpus: Processor time per wall-clock time; as much as there is where that is less.
            file_mb: Largest file in MiB.
            tmpfs: Mount point to mount options.
            capabilities: What root keeps; everything else is dropped.
            user: ``uid:gid``; None for root.
            shared: Folders of this process by their path in the container.
            read_only: Whether everything but `tmpfs` and `shared` is read-only.
            environment: More environment variables.
            hidden: Paths below ``/proc`` or ``/sys`` that appear empty in the container.

        Raises:
            FolderNotShared: Docker does not see a folder of `shared`.
            SandboxUnavailable: Docker can't.
        """
        megabyte = 1024 * 1024
        cpus = min(cpus, self.cpus)
        with _as_unavailable(f"starting a container of {image}"):
            host_config = self._api.create_host_config(
                network_mode="none",
                read_only=read_only,
                cap_drop=["ALL"],
                cap_add=list(capabilities),
                security_opt=["no-new-privileges"],
                mem_limit=memory_mb * megabyte,
                memswap_limit=memory_mb * megabyte,
                pids_limit=pids,
                nano_cpus=int(cpus * 1e9),
                tmpfs=dict(tmpfs),
                # As mounts, for a bind would make the folder on the engine's host where it is not there.
                mounts=[
                    docker.types.Mount(target=inside, source=folder, type="bind")
                    for inside, folder in (shared or {}).items()
                ],
                ulimits=[
                    docker.types.Ulimit(name="fsize", soft=file_mb * megabyte, hard=file_mb * megabyte),
                    docker.types.Ulimit(name="nofile", soft=1024, hard=1024),
                    docker.types.Ulimit(name="core", soft=0, hard=0),
                ],
                log_config=docker.types.LogConfig(type="none"),
                auto_remove=True,
                ipc_mode="private",
                sysctls=SYSCTLS,
                shm_size=megabyte,
            )
            if hidden:
                host_config["MaskedPaths"] = [*HIDDEN, *hidden]  # the SDK has no argument for it
            config = self._api.create_container_config(
                image,
                list(command[1:]),
                entrypoint=[command[0]],  # not the image's
                hostname="sandbox",
                user=user or "0:0",
                labels=dict(labels),
                environment=dict(environment or {}),
                host_config=host_config,
                stdin_open=True,
                network_disabled=True,
            )
            config["Healthcheck"] = {"Test": ["NONE"]}
            # The SDK leaves these false unless it is to attach by itself.
            config.update(AttachStdin=True, AttachStdout=True, AttachStderr=True, StdinOnce=True)
            self._api.create_container_from_config(config, name)  # type: ignore[no-untyped-call]  # the stubs' gap
            # Attached before it starts: nothing that it writes is lost.
            stream = self._api.attach_socket(name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._api.start(name)
        return _kept(stream)

    def execute(self, name: str, command: Sequence[str]) -> socket.socket:
        """Starts a process in a running container, as the container's user; returns the socket of its streams.

        It is within the container's limits. What it writes before it was sent anything may be lost.

        Args:
            name: The container's name.
            command: The program and its arguments.

        Raises:
            SandboxUnavailable: Docker can't, or there is no such container.
        """
        with _as_unavailable(f"starting a process in container {name}"):
            made = self._api.exec_create(name, list(command), stdin=True)
            return _kept(self._api.exec_start(made["Id"], socket=True))

    def remove(self, name: str) -> None:
        """Kills and removes a container; nothing happens if there is none of that name.

        Raises:
            SandboxUnavailable: Docker can't.
        """
        with _as_unavailable(f"removing container {name}"):
            try:
                self._api.remove_container(name, force=True, v=True)
            except NotFound:
                return
            except APIError as error:
                # Docker is removing it by itself, its first process having ended.
                if "already in progress" not in str(error.explanation):
                    raise

    def containers(self, label: str = RUN_LABEL) -> list[dict[str, Any]]:
        """All sandbox containers, running or not, that have a label (``name`` or ``name=value``).

        Raises:
            SandboxUnavailable: Docker can't tell.
        """
        with _as_unavailable("listing containers"):
            found: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": label})
        return [entry for entry in found if OWNER_LABEL in (entry.get("Labels") or {})]

    def has_image(self, tag: str) -> bool:
        """Whether Docker has an image of that tag.

        Raises:
            SandboxUnavailable: Docker can't tell.
        """
        with _as_unavailable("looking for an image"):
            try:
                self._api.inspect_image(tag)  # type: ignore[no-untyped-call]  # the stubs' gap
            except ImageNotFound:
                return False
        return True

    def image_config(self, tag: str) -> dict[str, Any]:
        """What an image says of its containers: ``Env``, ``WorkingDir``, ``User`` and so on.

        Raises:
            SandboxUnavailable: Docker has no such image, or can't tell.
        """
        with _as_unavailable(f"looking at the image {tag}"):
            found: dict[str, Any] = self._api.inspect_image(tag)  # type: ignore[no-untyped-call]  # the stubs' gap
            return found["Config"] or {}

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def _kept(stream: Any) -> socket.socket:
    """A socket that stays open when the SDK's wrapper is collected, which closes its own."""
    raw: socket.socket = getattr(stream, "_sock", stream)
    if isinstance(raw, ssl.SSLSocket):  # has no duplicate, and is the SDK's own
        raw.settimeout(CALL_SECONDS)
        return raw
    duplicate = raw.dup()
    duplicate.settimeout(CALL_SECONDS)
    stream.close()
    return duplicate
