"""Folders in memory for tests, where nobody waits for a disk."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
GIGABYTES = 2
"""Free memory below which files lie on the disk: ten times what a test leaves there."""


def folder_in_memory():
    """Where files lie in memory; None, which is `tempfile`'s own choice, where there is no such place or no room."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > GIGABYTES * 2**30:
        return MEMORY
    return None


@contextmanager
def temporary_folder(otherwise):
    """A folder in memory that goes with the block; `otherwise` where there is no room."""
    place = folder_in_memory()
    if place is None:
        yield otherwise
        return
    folder = Path(tempfile.mkdtemp(prefix="cycleqd-tests-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
