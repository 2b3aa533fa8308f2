"""Which Python packages are installed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache  # a version takes 2 ms to read, and is wanted for every score
def installed_version(package: str) -> str | None:
    """A package's version by its name in the index; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
