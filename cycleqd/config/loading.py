"""From a profile, a file or plain data to a configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import ValidationError

from cycleqd.config.files import explain, read_settings
from cycleqd.config.run import RunConfig
from cycleqd.config.suggestions import suggestion
from cycleqd.faults import ConfigError


def parse_config(data: Any, *, source: str = "configuration") -> RunConfig:
    """Validates plain data.

    Raises:
        ConfigError: With one line per fault: the field's path, what is wrong, what came.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, source, partial(_meant, data))) from None


def _meant(data: Any, location: tuple[int | str, ...]) -> str:
    return suggestion(RunConfig, location, data)


def load_config(name_or_path: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a shipped profile by name or a YAML file by path.

    Args:
        name_or_path: One of `PROFILES`, or a path.
        overrides: ``dotted.path=value`` pairs, the value in YAML; list items by number (``skills.0.train=8``).

    Raises:
        ConfigError: The file is missing, is no YAML mapping, or has faults; all of them are listed.
    """
    return parse_config(read_settings(name_or_path, overrides), source=name_or_path)
