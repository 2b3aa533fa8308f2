"""What is checked before hours are spent.

`checks` looks at skills, Docker, images, engine, model, training data, trainer, storage and disk. `probe` looks at a
base model: can it be trained, served and prompted? It works in a child process with bounds, because a model folder is
other people's work.

Public: `checks.check` with its `finding.Check`, `probe.probe`.
"""
