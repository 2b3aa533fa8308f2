"""Evaluators in other processes by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

_EVALUATORS = "cycleqd.evaluators"

EVALUATORS = SeamTable(
    "kind of evaluators",
    {
        "process": Row(f"{_EVALUATORS}.processes:ProcessEvaluators", "the standard library's subprocess"),
        "dask": Row(f"{_EVALUATORS}.dask_cluster:DaskEvaluators", "https://distributed.dask.org"),
        "ray": Row(f"{_EVALUATORS}.ray_cluster:RayEvaluators", "https://docs.ray.io"),
    },
)
"""Fulfil `cycleqd.evaluators.Evaluators`; a class is called with the run and those of its settings that it names. It
imports its package when it is called."""
