"""Opens the fsspec file system behind a storage URL.

For ``s3://`` everything about the account comes from the standard AWS places: ``AWS_ENDPOINT_URL_S3`` or
``AWS_ENDPOINT_URL``, ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, ``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID`` and
``AWS_SECRET_ACCESS_KEY``, the files in ``~/.aws``, a machine's role.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Any, NamedTuple

import fsspec
from fsspec import AbstractFileSystem

from cycleqd.faults import StoreError
from cycleqd.urls import check_url

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Longest silence of the store within one answer."""
REQUEST_ATTEMPTS = 4
"""Attempts of one request, in botocore's standard mode: exponential back-off with full jitter, at most 20 s a wait."""
PART_BYTES = 8 * 2**20
"""Files from twice this size on are uploaded in parts, each of which is repeated by itself; S3's least is 5 MiB."""
_MOST_PARTS = 10_000
_SPOKEN = "give a folder, s3:// (package s3fs, `pip install 'cycleqd[s3]'`), gs:// (gcsfs) or abfs:// (adlfs)"
"""What a message says of URLs; fsspec knows more, each with its package."""

# At level DEBUG they print signed headers, session tokens among them.
for _name in ("botocore", "aiobotocore", "s3fs"):
    logging.getLogger(_name).setLevel(logging.INFO)


class FileSystem(NamedTuple):
    """A file system and the path of a URL in it."""

    fs: AbstractFileSystem
    root: str


def open_filesystem(storage: str) -> FileSystem:
    """The file system of a folder or URL.

    Raises:
        StoreError: The URL carries credentials, its protocol is unknown, or the package is missing that speaks it.
    """
    try:
        check_url(storage)
    except ValueError as error:
        raise StoreError(str(error)) from None
    try:
        return _opened(storage)
    except (ValueError, ImportError) as error:
        raise StoreError(f"storage {storage}: {error}; {_SPOKEN}") from None


def _opened(storage: str) -> FileSystem:
    if storage.startswith(("s3://", "s3a://")):
        environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
        fs = _s3(os.getpid(), hash(environment), CONNECT_SECONDS, READ_SECONDS, REQUEST_ATTEMPTS)
        return FileSystem(fs, fs._strip_protocol(storage).rstrip("/"))
    fs, root = fsspec.core.url_to_fs(storage)
    return FileSystem(fs, root.rstrip("/"))


@lru_cache(maxsize=4)
def _s3(pid: int, environment: int, connect: float, read: float, attempts: int) -> AbstractFileSystem:
    """One client per process and AWS environment: making one takes a tenth of a second."""
    from s3fs import S3FileSystem

    client: dict[str, Any] = {}
    if region := os.environ.get("AWS_REGION"):  # which botocore, alone among AWS's clients, does not look at
        client["region_name"] = region
    fs = S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,  # other processes write, too
        default_block_size=PART_BYTES,
        client_kwargs=client,
        config_kwargs={
            "connect_timeout": connect,
            "read_timeout": read,
            "retries": {"mode": "standard", "total_max_attempts": attempts},
        },
    )
    fs.retries = 1  # s3fs waits without jitter, and its attempts would multiply botocore's
    return fs


def is_s3(fs: AbstractFileSystem) -> bool:
    """Whether it speaks S3, with its conditional puts and uploads in parts."""
    return "s3" in _protocols(fs)


def http_status(error: OSError) -> int | None:
    """The HTTP status behind a fault that s3fs translated; None where there is none."""
    response: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def part_bytes(size: int) -> int:
    """Size of the parts in which a file of `size` bytes is uploaded."""
    return max(PART_BYTES, -(-size // _MOST_PARTS))


def needs_folders(fs: AbstractFileSystem) -> bool:
    """Whether a folder must exist before a file can be put into it; in object stores there are none."""
    return not _protocols(fs) & {"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"}


def _protocols(fs: AbstractFileSystem) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
