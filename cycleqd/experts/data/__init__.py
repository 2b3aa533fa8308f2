"""Training data: published data sets turned into the conversations that an expert learns from.

A *recipe* turns a row into chat messages; a *source* is a recipe with a file, folder or hub id, a part and a cap.
`prepare` reads sources, leaves out what an evaluation sample shares words with, and reports what became of every row
together with a content hash. Too long conversations are left out later, by training itself, which counts tokens.

Public: `recipes.RECIPES`, the table; `sources.DataSource`, `sources.check_source` (can the data be had?) and
`sources.TrainingDataUnavailable`; `decontamination.EvaluationNgrams` and `decontamination.evaluation_texts`;
`preparation.prepare` (from sources) and `preparation.prepare_skill` (from a run's configuration) with their
`Prepared`, `DataReport` and `SourceReport`. Nothing is imported here: a configuration reads the table.
"""
