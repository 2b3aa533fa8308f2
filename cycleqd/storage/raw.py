"""Where objects lie: plain puts, gets and listings, without checksums.

Public: the `Raw` protocol and its two forms, `Disk` (this machine's file systems) and `Remote` (anything else that
fsspec reaches, with retries). Paths are fsspec's, without a protocol.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fsspec import AbstractFileSystem

from cycleqd.storage.cache import ObjectCache
from cycleqd.storage.filesystem import http_status, is_s3, needs_folders, part_bytes
from cycleqd.storage.retrying import retrying

T = TypeVar("T")

PARTIAL = ".partial"
"""Ending of what is still being written on a disk."""


class Raw(Protocol):
    """A place for objects."""

    def is_file(self, path: str) -> bool:
        """Whether there is a file."""
        ...

    def get(self, path: str) -> bytes | None:
        """A file's content, or None where there is none."""
        ...

    def download(self, path: str, target: Path) -> None:
        """Copies a file to a local path.

        Raises:
            FileNotFoundError: There is none.
        """
        ...

    def put(self, path: str, content: bytes | Path, *, create: bool) -> None:
        """Makes a file appear at once.

        Args:
            path: Where.
            content: The bytes, or a file made in `staging`, which may be moved.
            create: Refuse if there is one.

        Raises:
            FileExistsError: There is one, and `create` was asked for.
        """
        ...

    def put_folder(self, path: str, folder: Path) -> None:
        """Writes all files of a folder made in `staging`; they may appear one by one."""
        ...

    def names(self, path: str) -> list[str]:
        """Names of what lies directly in a folder."""
        ...

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of all files in and below a folder, by path."""
        ...

    def delete(self, path: str) -> None:
        """Removes a file if there is one."""
        ...

    def delete_folder(self, path: str) -> None:
        """Removes a folder if there is one."""
        ...

    def staging(self, path: str) -> AbstractContextManager[Path]:
        """A local path at which to prepare what will be put to `path`; what is left there goes with the block."""
        ...


class Disk:
    """A file system of this machine; renames and links make things appear at once."""

    def is_file(self, path: str) -> bool:
        """Whether there is a file."""
        return Path(path).is_file()

    def get(self, path: str) -> bytes | None:
        """A file's content, or None where there is none."""
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def download(self, path: str, target: Path) -> None:
        """Copies a file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def put(self, path: str, content: bytes | Path, *, create: bool) -> None:
        """Writes beside the place, then links or renames."""
        if isinstance(content, Path):
            self._publish(content, path, create=create)
            return
        with self.staging(path) as partial:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._publish(partial, path, create=create)

    def _publish(self, partial: Path, path: str, *, create: bool) -> None:
        if not create:
            partial.replace(path)
            return
        try:
            os.link(partial, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(path) from None
            partial.replace(path)

    def put_folder(self, path: str, folder: Path) -> None:
        """Renames the folder."""
        folder.replace(path)

    def names(self, path: str) -> list[str]:
        """Names of what lies directly in a folder."""
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of all files in and below a folder, by path."""
        found = {}
        for folder, _, names in os.walk(path):
            for name in names:
                with suppress(FileNotFoundError):  # moved or removed in this moment
                    found[os.path.join(folder, name)] = os.lstat(os.path.join(folder, name)).st_size
        return found

    def delete(self, path: str) -> None:
        """Removes a file if there is one."""
        Path(path).unlink(missing_ok=True)

    def delete_folder(self, path: str) -> None:
        """Removes a folder if there is one."""
        if Path(path).is_dir():
            # Away with the name first: a kill in between leaves a partial folder, which is swept.
            partial = _beside(path)
            os.replace(path, partial)
            shutil.rmtree(partial)

    @contextmanager
    def staging(self, path: str) -> Iterator[Path]:
        """A path beside the place, so that it can be renamed; removed at the end if it was not moved."""
        partial = _beside(path)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
        finally:
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


class Remote:
    """An object store, asked again after passing faults.

    Args:
        fs: The fsspec file system.
        cache: Gives the local folders in which uploads are prepared.
    """

    def __init__(self, fs: AbstractFileSystem, cache: ObjectCache) -> None:
        self._fs = fs
        self._cache = cache
        self._is_s3 = is_s3(fs)

    def is_file(self, path: str) -> bool:
        """Whether there is a file."""

        def look() -> bool:
            try:
                return bool(self._fs.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

        return self._retrying("look for", path, look)

    def get(self, path: str) -> bytes | None:
        """A file's content, or None where there is none."""
        # In one request, where s3fs would ask for the size first.
        options = {"max_concurrency": 1} if self._is_s3 else {}
        try:
            return bytes(self._retrying("read", path, lambda: self._fs.cat_file(path, **options)))
        except FileNotFoundError:
            return None

    def download(self, path: str, target: Path) -> None:
        """Copies a file to a local path.

        Raises:
            FileNotFoundError: There is none.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        self._retrying("download", path, lambda: self._fs.get_file(path, str(target)))

    def put(self, path: str, content: bytes | Path, *, create: bool) -> None:
        """One conditional put, or an upload in parts whose completion is conditional."""
        options: dict[str, Any] = {"mode": "create" if create else "overwrite"}
        if self._is_s3:
            options["chunksize"] = part_bytes(content.stat().st_size if isinstance(content, Path) else len(content))
        if needs_folders(self._fs):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)

        def write() -> None:
            try:
                if isinstance(content, Path):
                    self._fs.put_file(str(content), path, **options)
                else:
                    self._fs.pipe_file(path, content, **options)
            except OSError as error:
                if http_status(error) == 412:  # some stores leave out the condition by which s3fs knows it
                    raise FileExistsError(path) from None
                raise

        self._retrying("write", path, write)

    def put_folder(self, path: str, folder: Path) -> None:
        """Puts file after file."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{path}/{file.relative_to(folder).as_posix()}", file, create=False)

    def names(self, path: str) -> list[str]:
        """Names of what lies directly in a folder."""
        try:
            found = self._retrying("list", path, lambda: self._fs.ls(path, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in found]

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of all files in and below a folder, by path."""
        try:
            found = self._retrying("list", path, lambda: self._fs.find(path, detail=True))
        except FileNotFoundError:
            return {}
        return {str(entry): int(info["size"] or 0) for entry, info in found.items() if entry.startswith(f"{path}/")}

    def delete(self, path: str) -> None:
        """Removes a file if there is one."""
        try:
            self._retrying("remove", path, lambda: self._fs.rm_file(path))
        except FileNotFoundError:
            return

    def delete_folder(self, path: str) -> None:
        """Removes what lies in and below a folder."""
        for file in self.sizes(path):
            self.delete(file)

    @contextmanager
    def staging(self, path: str) -> Iterator[Path]:
        """A path in the local cache."""
        with self._cache.staging() as folder:
            yield folder / path.rpartition("/")[2]

    def _retrying(self, verb: str, path: str, action: Callable[[], T]) -> T:
        return retrying(f"{verb} {self._fs.unstrip_protocol(path)}", action)


def _beside(path: str) -> Path:
    return Path(f"{path}.{uuid.uuid4().hex}{PARTIAL}")
