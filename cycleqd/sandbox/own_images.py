"""Images that are not the project's: from somebody's Dockerfile, or from a registry.

An image with a Dockerfile is tagged with a hash of what it is built from, so a score knows which image it was made in.
To build one runs its Dockerfile, with the network that a build has: like the rest of a task, that is a program that is
trusted. What acts in its containers is not, and has none.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from docker.utils.build import exclude_paths

from cycleqd.sandbox.container_host import ContainerHost
from cycleqd.sandbox.errors import SandboxUnavailable

BUILD_SECONDS: Final = 3600
_CONTEXT_BYTES: Final = 1024**3
"""Of a build's context. More is a data set beside a Dockerfile, which a .dockerignore should name."""
_CACHE: Final = "__pycache__"
"""Python writes it where a task is loaded: it says nothing of the image."""
_SHOWN: Final = 20
"""Lines of a failed build."""
_BLOCK: Final = 1 << 20
_NEEDS: Final = (
    "import sys, os; assert sys.version_info >= (3, 9), 'python3 is %s, not 3.9 or later' % sys.version.split()[0]; "
    "assert os.access('/bin/bash', os.X_OK), 'there is no /bin/bash'"
)

_log = logging.getLogger(__name__)
_fit: set[str] = set()
"""Tags that this process has seen to be there and to be fit."""
_one_at_a_time = threading.Lock()


class ImageFacts(NamedTuple):
    """What an image says of how it wants to be used.

    Attributes:
        directory: Where its commands run.
        environment: Its variables.
        user: Who runs its commands, as ``name``, ``uid``, or either with a group after a colon; empty for root.
    """

    directory: str
    environment: Mapping[str, str]
    user: str


@dataclass(frozen=True)
class OwnImage:
    """One image: a folder with a Dockerfile, or a name that Docker has or can pull.

    Raises:
        ValueError: The folder has no such Dockerfile, or holds more than a gigabyte.
    """

    name: str = ""
    """As ``docker pull`` takes it; empty where there is a Dockerfile."""
    folder: Path | None = None
    """The context of the build."""
    dockerfile: str = "Dockerfile"
    """Its path, from the folder."""
    target: str = ""
    """The stage to build; empty is the last one."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Arguments of the build."""
    tag: str = field(init=False)
    """What the image is called, here and in the fingerprints of scores."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", self._content_tag(self.folder) if self.folder else _with_tag(self.name))

    def _content_tag(self, folder: Path) -> str:
        file = folder / self.dockerfile
        if not file.is_file():
            raise ValueError(f"there is no Dockerfile at {file}")
        digest = hashlib.sha256(repr((self.dockerfile, self.target, self.arguments)).encode())
        ignored = folder / ".dockerignore"
        lines = ignored.read_text("utf-8").splitlines() if ignored.is_file() else []
        patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        size = 0
        # The SDK's own rules for what a context holds; its Dockerfile always.
        for path in sorted(exclude_paths(str(folder), patterns, dockerfile=self.dockerfile)):
            place = folder / path
            if _CACHE in place.parts:
                continue
            digest.update(f"\0{Path(path).as_posix()}\0{place.lstat().st_mode & 0o170111}\0".encode())
            if place.is_symlink():
                digest.update(os.readlink(place).encode())
            elif place.is_file():
                size += place.stat().st_size
                if size > _CONTEXT_BYTES:
                    raise ValueError(f"{folder} holds more than 1 GB: name what no image needs in .dockerignore")
                with place.open("rb") as content:
                    while block := content.read(_BLOCK):
                        digest.update(block)
        return f"cycleqd-own:{digest.hexdigest()[:16]}"

    def ensure(self) -> None:
        """Builds or pulls the image where Docker does not have it, and makes sure that a sandbox can use it.

        Raises:
            SandboxUnavailable: It cannot be had, or lacks ``python3`` (3.9 or later) or ``/bin/bash``.
        """
        with _one_at_a_time:
            if self.tag in _fit:
                return
            host = ContainerHost()
            try:
                there = host.has_image(self.tag)
            finally:
                host.close()
            if not there:
                _log.info("%s the image %s (once)", "building" if self.folder else "pulling", self.tag)
                self._docker(*self._making(), why="cannot be had")
            check = (
                "run",
                "--rm",
                "--network=none",
                "--user=0:0",
                "--entrypoint=python3",
                self.tag,
                "-I",
                "-c",
                _NEEDS,
            )
            self._docker(*check, why="lacks python3 (3.9 or later) or /bin/bash, which sandboxes need")
            _fit.add(self.tag)

    def facts(self) -> ImageFacts:
        """What the image says of itself; it must be there.

        Raises:
            SandboxUnavailable: It is not.
        """
        host = ContainerHost()
        try:
            config = host.image_config(self.tag)
        finally:
            host.close()
        pairs = (pair.partition("=") for pair in config.get("Env") or ())
        environment = {name: value for name, _, value in pairs}
        return ImageFacts(config.get("WorkingDir") or "/", environment, config.get("User") or "")

    def _making(self) -> tuple[str, ...]:
        if self.folder is None:
            return ("pull", "--quiet", self.tag)
        options = [f"--build-arg={name}={value}" for name, value in self.arguments]
        if self.target:
            options.append(f"--target={self.target}")
        # A step that fails would leave its container behind.
        return (
            "build",
            "--force-rm",
            f"--tag={self.tag}",
            f"--file={self.folder / self.dockerfile}",
            *options,
            str(self.folder),
        )

    def _docker(self, *arguments: str, why: str) -> None:
        program = shutil.which("docker")
        if program is None:
            raise SandboxUnavailable(f"the image {self.tag} {why}: the program `docker` is not installed")
        try:
            done = subprocess.run(  # noqa: S603 -- no shell
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=BUILD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxUnavailable(f"the image {self.tag} {why}: not within {BUILD_SECONDS} s") from error
        if done.returncode:
            said = done.stdout.decode(errors="replace").splitlines()
            place = f" ({self.folder / self.dockerfile})" if self.folder else ""
            raise SandboxUnavailable(f"the image {self.tag}{place} {why}:\n" + "\n".join(said[-_SHOWN:]))


def _with_tag(name: str) -> str:
    """A name with its tag: without one Docker takes ``latest``."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
