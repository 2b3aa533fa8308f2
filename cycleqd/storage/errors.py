"""Faults of object storage, by what a caller can do about them."""

from __future__ import annotations

from cycleqd.faults import StoreError as StoreError


class ObjectCorrupt(StoreError):
    """An object differs from its checksum, or has none; reading it again does not help."""


class ObjectExists(StoreError):
    """An object was to be written once more, with other content."""


class StorageRefused(StoreError):
    """The store refuses: no such bucket, no credentials, or no permission. Trying again does not help."""


class StorageUnavailable(StoreError, ConnectionError):
    """The store did not answer properly although it was asked again and again; it may do so later."""
