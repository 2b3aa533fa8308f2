"""The fault that a user can mend: the command line tells it in one red line, without a traceback."""

from __future__ import annotations


class MendableFault(Exception):
    """What was given, or what a run finds around it, cannot be used; the text says what to do.

    Who reports such faults needs to know this class alone, and so none of the libraries behind the others.
    """


class StoreError(MendableFault, RuntimeError):
    """The store cannot serve a request; the text says what was expected and what is there."""
