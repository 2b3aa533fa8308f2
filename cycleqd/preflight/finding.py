"""What a check says."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """One finding.

    Attributes:
        name: What was looked at.
        ok: Whether the run can go ahead as far as this is concerned.
        detail: What was found.
        remedy: What to do about it, naming the setting or command; empty where all is well.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
