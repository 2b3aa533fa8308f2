"""Asking a store again after a passing fault, with exponential back-off and full jitter.

Single requests are repeated one level below, by botocore (see `cycleqd.storage.filesystem`). This level is for what
botocore does not see: a body that breaks off, a file that arrives altered, and outages longer than its patience.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from cycleqd.storage.errors import StorageRefused, StorageUnavailable, StoreError
from cycleqd.telemetry import metrics
from cycleqd.urls import without_credentials

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT = 0.5
"""Upper bound, in seconds, of the wait before the second attempt; it doubles from one attempt to the next."""
LONGEST_WAIT = 20.0


class Altered(Exception):
    """What came differs from its checksum: perhaps on the way, perhaps in the store."""


def retrying(what: str, action: Callable[[], T]) -> T:
    """Calls `action` until it does not meet a passing fault.

    Args:
        what: The action with the object's URL, for the error and the log.
        action: Can be repeated.

    Raises:
        StorageUnavailable: All attempts met faults.
        StorageRefused: Credentials, permission or bucket are missing.
        Altered: The last attempt got what differs from its checksum.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:
            if _is_refusal(error):
                raise StorageRefused(
                    f"{what}: {_text(error)}; check that the bucket exists and the credentials (AWS_PROFILE, or "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) may read, write and list it"
                ) from None
            if not is_passing(error):
                raise
            if attempt == ATTEMPTS:
                if isinstance(error, Altered):
                    raise
                # The cause is left out: botocore's exceptions hold requests, which hold signatures.
                raise StorageUnavailable(
                    f"{what}: failed {ATTEMPTS} times, at last with {_text(error)}; check that the store runs and "
                    "that AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) points to it, then start again"
                ) from None
            # Not a matter of security: it only keeps clients from asking in step.
            wait = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)))  # noqa: S311
            log.info("%s: %s; attempt %d in %.1f s", what, _text(error), attempt + 1, wait)
            metrics.STORAGE_RETRIES.inc()
            time.sleep(wait)
    raise AssertionError("unreachable")


def is_passing(error: BaseException) -> bool:
    """Whether the fault may be gone on the next attempt: 5xx, throttling, timeouts, resets, bodies that break off."""
    if isinstance(error, FileNotFoundError):  # a part or completion of an upload that was completed or aborted
        return "specified upload" in str(error)
    if isinstance(error, StoreError | FileExistsError | PermissionError | IsADirectoryError | NotADirectoryError):
        return False
    if isinstance(error, OSError) and error.errno in _LOCAL:
        return False
    return isinstance(error, Altered | OSError) or any(
        f"{kind.__module__}.{kind.__name__}" in _PASSING for kind in type(error).__mro__
    )


_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE})
"""Faults of this machine's disk, on which uploads and downloads are prepared."""

_PASSING = frozenset(
    {
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.ChecksumError",
        "botocore.exceptions.FlexibleChecksumError",
        "botocore.exceptions.IncompleteReadError",
        "botocore.exceptions.ResponseStreamingError",
        "botocore.parsers.ResponseParserError",
        "aiohttp.client_exceptions.ClientError",
        "http.client.IncompleteRead",
    }
)
"""By name, so that neither library is needed for a store that is not S3."""

_REFUSALS = frozenset(
    {
        "botocore.exceptions.NoCredentialsError",
        "botocore.exceptions.PartialCredentialsError",
        "botocore.exceptions.ProfileNotFound",
        "botocore.exceptions.NoRegionError",
        "botocore.exceptions.CredentialRetrievalError",
    }
)


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError):
        return "specified bucket" in str(error)
    return isinstance(error, PermissionError) or f"{type(error).__module__}.{type(error).__name__}" in _REFUSALS


def _text(error: BaseException) -> str:
    return without_credentials(f"{type(error).__name__}: {error}")
