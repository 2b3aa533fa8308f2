"""Checksum files, ``<key>.sha256``: what ``sha256sum -c`` reads in the folder that holds the object.

A file's has one line, ``<hash>  <name>``; a folder's has one per file, ``<hash>  <folder>/<path>``, below a comment
that says how many, so that a list which was cut off is known as such.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SUFFIX = ".sha256"

MUTABLE = ("changes.json", "sessions/", "report/", "archives/", "metrics/", "lease.json", ".")
"""Keys (folders end in a slash) that are rewritten all the time or can be made again, and so have no checksum; names
with a leading dot are lock files and probes."""

_LINE = re.compile(r"(?P<hash>[0-9a-f]{64})  (?P<name>.+)")
_COUNT = "# files: "
_BLOCK = 2**20


def is_mutable(key: str) -> bool:
    """Whether the object `key` may change and therefore has no checksum."""
    return key.startswith(MUTABLE)


def of_bytes(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def of_path(path: Path, name: str) -> dict[str, str]:
    """Hashes of a file, or of all files in a folder, by the names that go into the checksum file of `name`."""
    if path.is_file():
        return {name: of_file(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {f"{name}/{file.relative_to(path).as_posix()}": of_file(file) for file in files}


def to_text(name: str, hashes: dict[str, str]) -> bytes:
    """The content of the checksum file of the object `name`."""
    head = f"{_COUNT}{len(hashes)}\n" if is_folder(name, hashes) else ""
    return (head + "".join(f"{value}  {file}\n" for file, value in hashes.items())).encode()


def from_text(name: str, text: bytes) -> dict[str, str]:
    """Parses the checksum file of the object `name`.

    Raises:
        ValueError: It is none, or incomplete.
    """
    head, *lines = text.decode().splitlines() or [""]
    if not head.startswith(_COUNT):
        head, lines = f"{_COUNT}1", [head, *lines]
    matches = [match for line in lines if (match := _LINE.fullmatch(line))]
    if not len(matches) == len(lines) == int(head.removeprefix(_COUNT)):
        raise ValueError(f"not a whole checksum file: {text[:80]!r}")
    return {match["name"]: match["hash"] for match in matches}


def is_folder(name: str, hashes: dict[str, str]) -> bool:
    """Whether these are the checksums of a folder `name`, not of a file."""
    return name not in hashes
