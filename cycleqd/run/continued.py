"""What the settings of a run that is continued are held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cycleqd.config import EngineConfig, RunConfig


def at_the_place_of(place: EngineConfig, engine: EngineConfig) -> EngineConfig:
    """An engine's settings with another one's servers and folder: where they are decides on no score."""
    return engine.model_copy(update={"urls": place.urls, "adapters": place.adapters})


def kept(config: RunConfig, known: RunConfig) -> RunConfig:
    """The configuration with every ``auto`` replaced by what the run has."""
    update: dict[str, Any] = {}
    if config.model.dtype == "auto":
        update["model"] = config.model.model_copy(update={"dtype": known.model.dtype})
    if config.engine.kind == "auto":
        update["engine"] = config.engine.model_copy(update={"kind": known.engine.kind})
    return config.model_copy(update=update)


def differences(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values of plain data differ: the path, and what was and is there."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from differences(old, new, f"{path}.{index}")
    elif then != now:
        yield path, then, now
