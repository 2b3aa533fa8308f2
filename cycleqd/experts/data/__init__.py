"""Training data: published data sets turned into the conversations that an expert learns from.

A *recipe* turns a row into chat messages; a *source* is a recipe with a file, folder or hub id, a part and a cap.
`prepare` reads sources, leaves out what an evaluation sample shares words with, and reports what became of every row
together with a content hash. Too long conversations are left out later, by training itself, which counts tokens.

Public: `DataSource`, `sources_of`, `check_source` (can the data be had?), `TrainingDataUnavailable`;
`EvaluationNgrams` and `evaluation_texts`; `prepare` (from sources) and `prepare_skill` (from a run's configuration)
with their `Prepared`, `DataReport` and `SourceReport`.
"""

from cycleqd.experts.data.decontamination import EvaluationNgrams, evaluation_texts
from cycleqd.experts.data.preparation import DataReport, Prepared, SourceReport, prepare, prepare_skill, sources_of
from cycleqd.experts.data.sources import DataSource, TrainingDataUnavailable, check_source

__all__ = [
    "DataReport",
    "DataSource",
    "EvaluationNgrams",
    "Prepared",
    "SourceReport",
    "TrainingDataUnavailable",
    "check_source",
    "evaluation_texts",
    "prepare",
    "prepare_skill",
    "sources_of",
]
