"""`ObjectStore`: objects that are written once, whole, and compared with their checksums when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from cycleqd.storage import checksums
from cycleqd.storage.cache import ObjectCache
from cycleqd.storage.checksums import SUFFIX, is_mutable
from cycleqd.storage.errors import ObjectCorrupt, ObjectExists, StoreError
from cycleqd.storage.filesystem import open_filesystem
from cycleqd.storage.raw import PARTIAL, Disk, Raw, Remote
from cycleqd.storage.retrying import Altered, retrying

T = TypeVar("T")

_verified: set[tuple[str, bytes]] = set()
"""Objects on local disks, with their checksum files, that this process has compared."""


class ObjectStore:
    """Objects below one folder of a storage URL.

    Args:
        storage: Folder or fsspec URL.
        folder: Name of the folder in it.
        cache: Local folder for copies and uploads, only used when `storage` is remote; the default is `cache_dir`.

    Raises:
        ValueError: The URL carries credentials, or its protocol is unknown.
    """

    def __init__(self, storage: str, folder: str, *, cache: Path | None = None) -> None:
        self.storage = storage
        self._fs, root = open_filesystem(storage)
        self._root = f"{root}/{folder}".rstrip("/")
        self._cache = ObjectCache(cache)
        self._raw: Raw = Disk() if self.is_local else Remote(self._fs, self._cache)
        self.guard: Callable[[], None] = lambda: None
        """Called ahead of every write and removal; raises where this process may not write any more."""

    @property
    def is_local(self) -> bool:
        """Whether the objects lie on this machine's own file system."""
        return isinstance(self._fs, LocalFileSystem)

    def url(self, key: str = "") -> str:
        """The address of an object, for people and logs."""
        path = self._path(key)
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    # Reading

    def exists(self, key: str) -> bool:
        """Whether the object `key`, a file or a folder, was written in full."""
        if self._raw.is_file(self._path(key)):
            return True
        hashes = self._hashes(key)
        if hashes is None or not checksums.is_folder(_name(key), hashes):
            return False
        return {self._path(_sibling(key, name)) for name in hashes} <= self._raw.sizes(self._path(key)).keys()

    def read_bytes(self, key: str) -> bytes:
        """The content of the file `key`.

        Raises:
            StoreError: There is no such object.
            ObjectCorrupt: It differs from its checksum.
            StorageUnavailable: The store did not answer.
        """

        def read() -> bytes:
            content = self._raw.get(self._path(key))
            if content is None:
                raise StoreError(f"{self.url(key)} does not exist")
            if not is_mutable(key):
                self._compare(key, {_name(key): checksums.of_bytes(content)})
            return content

        return self._checked(key, read)

    def read_json(self, key: str) -> Any:
        """The parsed content of `key`.

        Raises:
            StoreError: It does not exist or is not JSON.
        """
        try:
            return json.loads(self.read_bytes(key))
        except ValueError as error:
            raise StoreError(f"{self.url(key)} is not JSON: {error}") from None

    def local(self, key: str) -> Path:
        """A local path from which `key`, a file or a folder, can be read at once; its content is checked.

        Raises:
            StoreError: There is no such object.
            ObjectCorrupt: It differs from its checksum.
            StorageUnavailable: The store did not answer.
        """
        if self.is_local:
            self.verify(key, again=False)
            return Path(self._path(key))
        if not self.exists(key):
            raise StoreError(f"{self.url(key)} does not exist")
        if is_mutable(key):
            content = self.read_bytes(key)
            hashes = {_name(key): checksums.of_bytes(content)}
            return self._cache.fetch(_name(key), hashes, lambda path: self._copy(content, path))
        return self._cache.fetch(_name(key), self._expected(key), lambda path: self._download(key, path))

    def verify(self, key: str, *, again: bool = True) -> None:
        """Compares an object with its checksums; of a mutable one, only that it is there.

        Args:
            key: The object.
            again: Also if this process has compared it before (on a local disk).

        Raises:
            StoreError: There is no such object.
            ObjectCorrupt: It differs.
        """
        if not self.exists(key):
            raise StoreError(f"{self.url(key)} does not exist")
        if is_mutable(key):
            return
        if not self.is_local:
            with self._cache.staging() as folder:
                self._download(key, folder / _name(key))
            return
        path = Path(self._path(key))
        seen = (str(path), checksums.to_text(_name(key), self._expected(key)))
        if again or seen not in _verified:
            self._checked(key, lambda: self._compare(key, checksums.of_path(path, _name(key))))
            _verified.add(seen)

    def keys(self, folder: str) -> list[str]:
        """Keys of the files and folders directly in `folder`, sorted; a folder may be half written, see `exists`."""
        names = self._raw.names(self._path(folder))
        return sorted(f"{folder}/{name}" for name in names if not name.endswith((SUFFIX, PARTIAL)) and name[:1] != ".")

    def walk(self, folder: str = "") -> list[str]:
        """Paths of all files in and below `folder`, sorted: checksums and half-written ones, too."""
        return list(self.sizes(folder))

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of the files that `walk` names, by path and in its order."""
        found = self._raw.sizes(self._path(folder))
        return {path[len(self._root) + 1 :]: size for path, size in sorted(found.items())}

    # Writing

    def write_bytes(self, key: str, content: bytes, *, replace: bool = False) -> None:
        """Writes the file `key` so that a reader sees all of it or nothing.

        Args:
            key: The object. Writing the same content twice is fine; a mutable key may be written at will.
            content: What it holds.
            replace: There may be another version, which nothing that is committed refers to; it is removed first.

        Raises:
            ObjectExists: It was written before with other content.
            StorageUnavailable: The store did not answer.
        """
        self._write_file(key, content, checksums.of_bytes(content), replace=replace)

    def write_json(self, key: str, value: Any, *, replace: bool = False) -> None:
        """Writes `value` with sorted keys; see `write_bytes`."""
        self.write_bytes(key, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode(), replace=replace)

    @contextmanager
    def writing(self, key: str, *, replace: bool = False) -> Iterator[Path]:
        """A local path to write a file or folder to; it appears under `key` when the block ends well.

        Raises:
            ObjectExists: It was written before with other content, and not to be replaced.
            StorageUnavailable: The store did not answer.
        """
        with self._raw.staging(self._path(key)) as path:
            yield path
            if path.is_dir():
                self._write_folder(key, path, replace=replace)
            else:
                self._write_file(key, path, checksums.of_file(path), replace=replace)

    def remove(self, key: str) -> None:
        """Removes a file or folder with its checksum, if there is one; half-written ones, too."""
        self.guard()
        path = self._path(key)
        if self._raw.is_file(path):
            self._raw.delete(path)
            self._raw.delete(path + SUFFIX)
        else:  # without its list a folder is not there, whatever is left of it
            self._raw.delete(path + SUFFIX)
            self._raw.delete_folder(path)

    # Inside

    def _path(self, key: str) -> str:
        return f"{self._root}/{key.strip('/')}" if key else self._root

    def _write_file(self, key: str, content: bytes | Path, digest: str, *, replace: bool) -> None:
        self.guard()
        path = self._path(key)
        if is_mutable(key):
            self._raw.put(path, content, create=False)
            return
        if replace:
            self.remove(key)
        earlier = self._announce(key, checksums.to_text(_name(key), {_name(key): digest}))
        try:
            self._raw.put(path, content, create=True)
        except FileExistsError:
            found = checksums.of_bytes(self._raw.get(path) or b"")
            if found == digest:  # by an attempt whose answer got lost, or by the same work done twice
                return
            if earlier == checksums.to_text(_name(key), {_name(key): found}):
                # Somebody was faster after announcing it; what is there is intact and keeps its checksum.
                self._raw.put(path + SUFFIX, earlier, create=False)
            raise self._other_content(key) from None

    def _announce(self, key: str, text: bytes) -> bytes | None:
        """Writes the checksum of a file that is about to be written; returns another one that it replaced."""
        path = self._path(key)
        try:
            self._raw.put(path + SUFFIX, text, create=True)
            return None
        except FileExistsError:
            earlier = self._raw.get(path + SUFFIX)
        if earlier == text:
            return None
        if self._raw.is_file(path):
            raise self._other_content(key)
        self._raw.put(path + SUFFIX, text, create=False)  # its writer was killed, or is about to lose the race
        return earlier

    def _write_folder(self, key: str, folder: Path, *, replace: bool) -> None:
        self.guard()
        path, hashes = self._path(key), checksums.of_path(folder, _name(key))
        if not replace and self.exists(key):
            if self._hashes(key) == hashes:
                return
            raise self._other_content(key)
        self.remove(key)  # also what a killed writer left
        self._raw.put_folder(path, folder)
        self._raw.put(path + SUFFIX, checksums.to_text(_name(key), hashes), create=False)

    def _hashes(self, key: str) -> dict[str, str] | None:
        """What the checksum file of `key` says; None without one."""

        def read() -> dict[str, str] | None:
            text = self._raw.get(self._path(key) + SUFFIX)
            try:
                return None if text is None else checksums.from_text(_name(key), text)
            except ValueError as error:
                raise Altered(str(error)) from None

        return None if is_mutable(key) else self._checked(key + SUFFIX, read)

    def _expected(self, key: str) -> dict[str, str]:
        """The checksums of an object that is there."""
        hashes = self._hashes(key)
        if hashes is None:
            raise ObjectCorrupt(
                f"{self.url(key)} has no checksum ({_name(key)}{SUFFIX}), so it can't be trusted; "
                "restore both from a copy"
            )
        return hashes

    def _compare(self, key: str, found: dict[str, str]) -> None:
        expected = self._expected(key)
        if differing := sorted(name for name in expected if found.get(name) != expected[name]):
            raise Altered(f"altered or incomplete: {', '.join(differing[:3])}")

    def _checked(self, key: str, read: Callable[[], T]) -> T:
        """Reads and compares; from a remote store repeatedly, as it may have been altered on the way."""
        try:
            return read() if self.is_local else retrying(f"read {self.url(key)}", read)
        except Altered as error:
            raise ObjectCorrupt(
                f"{self.url(key)} differs from its checksum ({error}); restore it from a copy"
            ) from None

    def _download(self, key: str, target: Path) -> None:
        """Copies a remote object to `target`, each file until it matches its checksum."""
        for name in self._expected(key):
            path = target.parent / name
            self._checked(key, partial(self._download_file, key, name, path))

    def _download_file(self, key: str, name: str, target: Path) -> None:
        remote = self._path(_sibling(key, name))
        try:
            self._raw.download(remote, target)
        except FileNotFoundError:
            raise StoreError(f"{self._fs.unstrip_protocol(remote)} does not exist") from None
        if checksums.of_file(target) != self._expected(key).get(name):
            raise Altered(f"altered or incomplete: {name}")

    @staticmethod
    def _copy(content: bytes, target: Path) -> None:
        target.write_bytes(content)

    def _other_content(self, key: str) -> ObjectExists:
        return ObjectExists(
            f"{self.url(key)} was written before with other content, and objects are written once; another process "
            "may be writing to the same run. To make it anew, remove it"
        )


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _sibling(key: str, name: str) -> str:
    """The key of a file that a checksum file names."""
    return f"{key.rpartition('/')[0]}/{name}".lstrip("/")
