"""Object storage: named objects (files and folders) under any fsspec URL, whole and unaltered or not there at all.

An object is written once, under a key. Beside it lies its checksum, ``<key>.sha256``, in the format of ``sha256sum``;
what is read is compared with it. A few keys are mutable (`is_mutable`): they change all the time and have none.

The order of writes makes every object appear at once, wherever its writer is killed:

* a file's checksum comes first, so a file that is there has one; a checksum alone is a write that did not happen;
* a folder's checksum lists its files and comes last, so a folder is there when its list is.

Public: `ObjectStore`; its faults `StoreError`, `ObjectCorrupt`, `ObjectExists`, `StorageRefused`,
`StorageUnavailable`; `open_filesystem` for code that needs the bare file system with the same settings;
`check_url`, which refuses URLs with credentials; `cache_dir`.
"""

from cycleqd.storage.cache import ObjectCache, cache_dir
from cycleqd.storage.checksums import SUFFIX, is_mutable
from cycleqd.storage.errors import ObjectCorrupt, ObjectExists, StorageRefused, StorageUnavailable, StoreError
from cycleqd.storage.filesystem import open_filesystem
from cycleqd.storage.objects import ObjectStore
from cycleqd.urls import check_url, without_credentials

__all__ = [
    "SUFFIX",
    "ObjectCache",
    "ObjectCorrupt",
    "ObjectExists",
    "ObjectStore",
    "StorageRefused",
    "StorageUnavailable",
    "StoreError",
    "cache_dir",
    "check_url",
    "is_mutable",
    "open_filesystem",
    "without_credentials",
]
