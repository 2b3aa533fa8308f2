"""The names of the sandbox images: what a checkout's Dockerfiles say is part of the name.

An image is tagged with a hash of its build context, so code never runs against an image of another version, and
`make images` knows at a glance that nothing is to be done.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

IMAGE_NAMES = (
    *("shell", "python", "mariadb", "mysql", "evalplus"),
    *("agentbench-default", "agentbench-packages", "agentbench-ubuntu"),
)
OPTIONAL_IMAGES = ("mysql",)
"""Images without which every run starts that does not name them: their packages come from Debian's unstable suite,
which nobody's first run should depend on."""
IMAGE_DIRECTORY = Path(__file__).resolve().parents[2] / "infra" / "images"
BASE_RELEASE = "bookworm"
"""The Debian release under every image, pulled (`debian:12-slim`) or made with debootstrap."""


def image_tag(name: str, directory: Path = IMAGE_DIRECTORY) -> str:
    """The tag of a sandbox image.

    Args:
        name: One of `IMAGE_NAMES`: a folder of `directory` that holds a Dockerfile and its context.
        directory: The folder of the build contexts; a checkout's ``infra/images``.

    Returns:
        For example ``cycleqd-shell:3f0c9a81d2e4``.

    Raises:
        FileNotFoundError: There is no such build context, e.g. because the package runs outside a checkout.
    """
    context = directory / name
    if not (context / "Dockerfile").is_file():
        raise FileNotFoundError(
            f"no Dockerfile for the sandbox image '{name}' at {context}: run from a checkout of the project, "
            "or pass the names of your own images"
        )
    digest = hashlib.sha256(BASE_RELEASE.encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        content = path.read_bytes()
        executable = b"x" if path.stat().st_mode & 0o100 else b"-"
        header = f"\0{path.relative_to(context).as_posix()}\0{len(content)}\0".encode()
        digest.update(header + executable + content)
    return f"cycleqd-{name}:{digest.hexdigest()[:12]}"


def image_tags(directory: Path = IMAGE_DIRECTORY) -> dict[str, str]:
    """The tags of all sandbox images, by name."""
    return {name: image_tag(name, directory) for name in IMAGE_NAMES}
