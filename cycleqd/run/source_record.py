"""Where an expert comes from that the run has not trained: ``experts/<skill>/source.json``."""

from __future__ import annotations

from typing import Literal

from cycleqd.run.records import Record


class SourceRecord(Record):
    """What ``source.json`` says.

    Attributes:
        kind: What it is; a row of `cycleqd.seams.EXPERT_SOURCES`.
        given: As the configuration names it.
        folder: Where it was read from.
        revision: The hub's commit; empty for a local folder.
        files: SHA-256 by file: weights, configuration, tokenizer.
        hash: One over all files.
        form: Whether its update is of low rank throughout. The run's vectors are dense if one expert's update is.
        parameters: Number of parameters that it changes.
        notes: What was noticed when it was read.
        as_others_read: Whether other programs get the same expert from these files; see
            `cycleqd.experts.sources.Update`. Records of earlier versions do not say.
    """

    kind: Literal["adapter", "checkpoint"]
    given: str
    folder: str
    revision: str
    files: dict[str, str]
    hash: str
    form: Literal["factored", "dense"]
    parameters: int
    notes: list[str]
    as_others_read: bool = True
