"""A slot: one small object that several processes change by compare and swap.

Public: the `Slot` protocol and `open_slot`, which gives the slot of a path on any fsspec file system:

* `LocalSlot`: swaps happen under a lock file that the kernel frees when its holder dies;
* `S3Slot`: conditional puts (``If-None-Match``, ``If-Match``);
* `PlainSlot`: stores that know neither. A swap is a look and a put; who has won a race is known a moment later.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from cycleqd.storage.filesystem import http_status, is_s3

_REFUSED = {409, 412}
"""HTTP: another conditional request is under way, or the condition does not hold."""


class Versioned(NamedTuple):
    """What a slot holds.

    Attributes:
        content: The bytes.
        version: Changes whenever the content does.
    """

    content: bytes
    version: str


class Slot(Protocol):
    """One object that is read, swapped and removed.

    Attributes:
        certain: Whether a swap that was granted can't have been granted to another process as well. Where it isn't,
            look again after a moment: the last writer has won.
    """

    certain: bool

    def read(self) -> Versioned | None:
        """The content, or None where there is nothing."""
        ...

    def swap(self, content: bytes, expected: Versioned | None) -> bool:
        """Writes `content` if the slot still holds what was read; says whether it did."""
        ...

    def remove(self, expected: Versioned) -> None:
        """Empties the slot if it still holds what was read."""
        ...


def open_slot(fs: AbstractFileSystem, path: str) -> Slot:
    """The slot at `path`, in the best form that the file system offers."""
    if isinstance(fs, LocalFileSystem):
        return LocalSlot(Path(path))
    return S3Slot(fs, path) if is_s3(fs) else PlainSlot(fs, path)


class LocalSlot:
    """A file on this machine's file system, or on one that supports ``flock`` across machines.

    Args:
        path: The file; its folder is created with it.
    """

    certain = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Versioned | None:
        """The content; its own version."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return Versioned(content, content.hex())

    def swap(self, content: bytes, expected: Versioned | None) -> bool:
        """Replaces the file under the lock."""
        with self._locked():
            if self.read() != expected:
                return False
            partial = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.partial")
            try:
                partial.write_bytes(content)
                partial.replace(self._path)
            finally:
                partial.unlink(missing_ok=True)
            return True

    def remove(self, expected: Versioned) -> None:
        """Removes the file under the lock."""
        with self._locked():
            if self.read() == expected:
                self._path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock file stays: removing it would let two processes lock two files of the same name.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class PlainSlot:
    """An object in a store without conditional writes.

    Args:
        fs: The store.
        path: The object's path in it.
    """

    certain = False

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._fs = fs
        self._path = path

    def read(self) -> Versioned | None:
        """The content; its own version."""
        try:
            content = bytes(self._fs.cat_file(self._path))
        except FileNotFoundError:
            return None
        return Versioned(content, content.hex())

    def swap(self, content: bytes, expected: Versioned | None) -> bool:
        """Looks, then writes."""
        if self.read() != expected:
            return False
        self._fs.pipe_file(self._path, content)
        return True

    def remove(self, expected: Versioned) -> None:
        """Looks, then removes."""
        if self.read() == expected:
            self._fs.rm_file(self._path)


class S3Slot(PlainSlot):
    """An object in S3 or in a store that speaks its conditional puts.

    Not `certain`: a store that does not know the conditions may ignore them without a word.
    """

    def read(self) -> Versioned | None:
        """The content with its entity tag."""
        try:
            # The tag first: if the object changes in between, a swap with the older tag is refused.
            tag = str(self._fs.info(self._path)["ETag"])
            return Versioned(bytes(self._fs.cat_file(self._path)), tag)
        except FileNotFoundError:
            return None

    def swap(self, content: bytes, expected: Versioned | None) -> bool:
        """One conditional put."""
        bucket, key, _ = self._fs.split_path(self._path)
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected.version}
        try:
            self._fs.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except FileNotFoundError:  # it was there when it was read
            return False
        except OSError as error:
            if _status(error) not in _REFUSED:
                raise
            # A put that was repeated because its answer got lost is refused by its own first attempt.
            now = self.read()
            return now is not None and now.content == content
        return True


def _status(error: OSError) -> int | None:
    """The HTTP status behind a fault; s3fs has a class of its own for a put that was refused."""
    return 412 if isinstance(error, FileExistsError) else http_status(error)
