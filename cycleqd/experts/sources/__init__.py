"""Where experts come from: fine-tuned by the run, or anybody's adapter or checkpoint.

A source gives an expert minus the base, in the smallest exact form: factors of low rank where it has them, dense
deltas for the rest. Nothing of a source is ever run: no code from the hub, no pickled objects.

Public: the `ExpertSource` protocol with `Update` and `SourceInvalid`; `find` and `Found`, which say where a source is
and what it is; `task_vectors`, which gives all experts of a run one form. The table is
`cycleqd.seams.EXPERT_SOURCES`.
"""

from cycleqd.experts.sources.forms import TaskVectors, task_vectors
from cycleqd.experts.sources.location import Found, SourceUnavailable, find
from cycleqd.experts.sources.protocol import ExpertSource, SourceInvalid, Update

__all__ = [
    "ExpertSource",
    "Found",
    "SourceInvalid",
    "SourceUnavailable",
    "TaskVectors",
    "Update",
    "find",
    "task_vectors",
]
