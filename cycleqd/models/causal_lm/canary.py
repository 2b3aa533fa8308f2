"""The canary: log-probabilities of a fixed prompt, which prove whose weights an engine serves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.models.causal_lm.protocol import WeightsNotLoaded

CANARY_TEXT: Final = (
    "Think: count the rows. Act: bash ls -1 /etc | wc -l; SELECT COUNT(*) FROM users WHERE age > 30; "
    "def add(a, b): return a + b"
)
CANARY_TOKENS: Final = 48
"""Only so many tokens of the text are used: enough for every layer to matter, a few milliseconds to compute."""

_DIFFERENT_CHILD: Final = 0.01
"""Two merges of which more than this share of sampled weights differ must have different log-probabilities.

Fewer differing weights (say, two merges of the same parents whose mixing ratios differ in the seventh digit)
may well round to the same ones.
"""

LogProbabilities = npt.NDArray[np.float32]


def finite(base: Path, values: LogProbabilities) -> LogProbabilities:
    """The base's log-probabilities, once they are known to be numbers.

    Raises:
        BaseModelInvalid: Some are NaN or infinite, so every reply would be arbitrary.
    """
    if not np.isfinite(values).all():
        raise BaseModelInvalid(f"base model {base}: it computes NaN or infinite log-probabilities")
    return values


class Canary:
    """Judges each load by the log-probabilities measured after it.

    Args:
        base_values: The base's log-probabilities.
    """

    def __init__(self, base_values: LogProbabilities) -> None:
        self._base = base_values.tobytes()  # bytes, so that NaN equals itself
        self._seen = {"base": self._base}
        self._previous = self._base
        self._previous_sketch: torch.Tensor | None = None

    def check(self, genome: str, values: LogProbabilities, merged: MergedWeights) -> None:
        """Compares a load's log-probabilities with what is known.

        Args:
            genome: What was loaded.
            values: The log-probabilities measured after the load.
            merged: The weights that were handed to the engine, after iteration.

        Raises:
            WeightsNotLoaded: They contradict the load.
        """
        found = values.tobytes()
        if merged.changed and found == self._base:
            raise WeightsNotLoaded(f"{genome}: the engine still gives the base model's log-probabilities")
        if not merged.changed and found != self._base:
            raise WeightsNotLoaded(f"{genome}: the base's weights were loaded but the log-probabilities are not its")
        if found == self._previous and self._differs_from_previous(merged.sketch):
            raise WeightsNotLoaded(f"{genome}: the engine still gives the previously loaded log-probabilities")
        if self._seen.setdefault(genome, found) != found:
            raise WeightsNotLoaded(f"{genome}: its log-probabilities are not those of its earlier load")
        self._previous, self._previous_sketch = found, merged.sketch

    def _differs_from_previous(self, sketch: torch.Tensor) -> bool:
        if self._previous_sketch is None:
            return False
        return bool((sketch != self._previous_sketch).float().mean() > _DIFFERENT_CHILD)
