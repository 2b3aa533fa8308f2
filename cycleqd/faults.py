"""The fault that a user can mend: the command line tells it in one red line, without a traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence


class MendableFault(Exception):
    """What was given, or what a run finds around it, cannot be used; the text says what to do.

    Who reports such faults needs to know this class alone, and so none of the libraries behind the others.
    """


class StoreError(MendableFault, RuntimeError):
    """The store cannot serve a request; the text says what was expected and what is there."""


class ConfigError(MendableFault, ValueError):
    """A configuration cannot be used; the text lists every fault with its field's path."""


def hint(name: str, names: Sequence[str], none: str) -> str:
    """The end of an error about an unknown name: close matches, else what there is, else `none`."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; there are {shown}" if names else f"; {none}"


def shown_name(key: object) -> str:
    """A field's name; the line of another file that was read as one may be a password."""
    return str(key) if re.fullmatch(r"[\w-]{1,48}", str(key)) and str(key).isprintable() else "(no name)"
