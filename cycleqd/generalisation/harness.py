"""The library lm-evaluation-harness: an optional one, loaded when something is scored with it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from cycleqd.faults import MendableFault
from cycleqd.generalisation.catalogue import INSTALL


class HarnessMissing(MendableFault, ImportError):
    """The package lm-eval is not installed; the text says how it is."""


def harness_module(name: str = "") -> ModuleType:
    """A module of the harness, by its name below ``lm_eval``.

    Raises:
        HarnessMissing: The package, or one that it needs, is not installed.
    """
    try:
        return importlib.import_module(f"lm_eval.{name}" if name else "lm_eval")
    except ImportError as error:
        raise HarnessMissing(
            f"this needs lm-evaluation-harness, which is not installed ({error}): {INSTALL}"
        ) from None


class Unfit(MendableFault, ValueError):
    """A task of the harness wants what our engines do not give; the text says what."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the harness' warnings and bars off the terminal, which has a bar of its own."""
    import datasets

    task: Any = harness_module("api.task")
    logger = logging.getLogger("lm_eval")
    level, bar, bars = logger.level, task.tqdm, datasets.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    task.tqdm = _no_bar
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        task.tqdm = bar
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


def _no_bar(items: Any, **_: Any) -> Any:
    return items
