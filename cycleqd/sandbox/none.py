"""No containers at all, for runs whose skills act in none."""

from __future__ import annotations

from typing import NoReturn

from cycleqd.sandbox.pool import Sandboxes


class NoSandboxes(Sandboxes):
    """Opens nothing and asks no Docker engine."""

    def __init__(self) -> None:
        """Nothing to start."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise RuntimeError("this run's skills name no sandbox image, so it opened no sandboxes")

    shell = runner = database = _refuse

    def close(self) -> None:
        """Nothing to remove."""
