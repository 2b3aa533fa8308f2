"""What the baselines of a configuration are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cycleqd.config import BaselineConfig


class Candidate(NamedTuple):
    """One merge of the experts at one scale.

    Attributes:
        id: The individual's, e.g. ``tsv-0.85``.
        label: The merge's name without its scale, e.g. ``tsv``; its candidates have it in common.
        method: Row of `cycleqd.seams.BASELINES`.
        settings: The method's, its scale among them.
    """

    id: str
    label: str
    method: str
    settings: dict[str, float]


def candidates(baselines: Sequence[BaselineConfig]) -> list[Candidate]:
    """All scales of all merges, in the configuration's order."""
    return [
        Candidate(f"{baseline.label}-{scale:g}", baseline.label, baseline.method, baseline.settings | {"scale": scale})
        for baseline in baselines
        for scale in baseline.scales
    ]
