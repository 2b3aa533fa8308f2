"""Settings of the trackers that get what a run measures."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.named import Named, NamedSection
from cycleqd.seams import TRACKERS, SeamTable


class TrackerConfig(NamedSection):
    """A tracker, which gets scores, losses and seconds under the same names as any other."""

    TABLE: ClassVar[SeamTable] = TRACKERS

    kind: Annotated[str, Named(TRACKERS)]
    """Which tracker. Its package is an extra, e.g. ``pip install 'cycleqd[mlflow]'``."""
    place: str | None = None
    """``mlflow``: the tracking URI; unless given, what MLFLOW_TRACKING_URI says, else a database file in the working
    folder. ``tensorboard``, ``wandb``: a local folder; unless given, ``tensorboard`` or ``wandb`` in the working
    folder."""
    project: str | None = None
    """``mlflow``: the experiment; ``wandb``: the project. Unless given: ``cycleqd``."""
    offline: Annotated[bool | None, Field(validate_default=True)] = None
    """``wandb``: whether nothing leaves this machine until somebody runs ``wandb sync``. Unless given: true."""

    @field_validator("place", "project", "offline")
    @classmethod
    def _belongs_to_the_tracker(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind", "")
        if value is None or kind not in TRACKERS or info.field_name is None:
            return value
        if info.field_name not in TRACKERS.settings(kind):
            raise ValueError(f"{kind} has no {info.field_name}")
        TRACKERS.make(kind, **{info.field_name: value})  # whose fault is told with this field's path
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """What was given."""
        return {name: value for name, value in super().settings.items() if value is not None}
