"""The processes that somebody started, found by what they inherited."""

from contextlib import suppress

import psutil


def processes_with(variable, value):
    """Living processes with that environment variable."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone by itself
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
