"""Trackers: MLflow, TensorBoard and Weights & Biases get what a run measures, each under the same names.

A run's records are the truth, and a tracker is a copy of them. Whoever leads the run tells its trackers what the
records say (`following`). A tracker skips what it has, so that a resumed start logs nothing twice. What it missed
while it did not answer, it gets later. `measures` names the metrics, `protocol` says what a tracker is;
`cycleqd.seams.TRACKERS` is the table of them.

Public: `Tracker`, `Log`, `Identity`, `Row`, `TrackerMissing`, `missing`; `Following`, `following` and `made_of` of
`cycleqd.tracking.following`, which needs the report's libraries.
"""

from cycleqd.tracking.protocol import Identity, Log, Row, Tracker, TrackerMissing, missing

__all__ = ["Identity", "Log", "Row", "Tracker", "TrackerMissing", "missing"]
