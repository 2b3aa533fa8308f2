"""The names of a run's things: ids of individuals and keys of objects. Each is spelled here alone."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from cycleqd.run_id import RunId

BASE = "base"
"""Id of the base model, and its genome: its task vector is zero."""
AVERAGE = "average"
"""Id of the plain average of the experts."""
AGGREGATE = "aggregate"
"""Id of the final model."""
MERGED = "merged"
"""Id of the search's answer, where the final model is that answer fine-tuned further (`refinement`)."""
REFINED = "refined"
"""The training of the final model, where an expert's is called by its skill."""
ALL_DATA = "all-data"
"""Id of the one model that was fine-tuned on all skills' data, the baseline of the paper's Table 1."""

CONFIG_KEY = "config.json"
"""The configuration as the run began."""
CHANGES_KEY = "changes.json"
"""What later starts changed of the configuration."""
BASE_KEY = "base.json"
"""Which base model the run began with."""
LEASE_KEY = "lease.json"
"""Which process writes to the run."""
BASES_KEY = "bases.safetensors"
"""The shared bases of factored task vectors."""
SPECTRAL_KEY = "spectral/experts.json"
"""Whose changes are decomposed, and of which parameters; written when all are."""
SIMILARITY_KEY = "experts/similarity.json"
"""How alike the experts are, pair by pair."""
REGMEAN_KEY = "experts/regmean.safetensors"
"""The experts' shares of RegMean, as low-rank factors."""
TRAINING = ("training.safetensors", "training.tar")
"""Of an expert: where its training stands, until it is finished; trainers have files of their own."""
TRUNCATED = "truncated.json"
"""Of an expert: how many singular values of each matrix were kept, and what was lost."""
SEED_KEY = "generations/seed.json"
"""The commit record of the seeding."""
EXPORT_KEY = "aggregate/export.json"
"""Which final model was exported in full."""
CHECKPOINT_KEY = "aggregate/checkpoint"
"""The final model as a checkpoint."""
REPORT_KEY = "report/index.html"
"""The report's page."""
SUMMARY_KEY = "report/summary.json"
"""The report's figures; the last object that a report writes."""
TRACKING_KEY = "tracking.json"
"""Which run of a tracker this run is."""
METRICS_KEY = "metrics/run.prom"
"""The counters of the process that worked on the run last."""


_EVALUATION: Final = re.compile(r"evaluations/([^/]+)/([^/]+)-((?:train|optimization|test)(?:\.\d+-\d+)?)\.json")


class RunRef(BaseModel):
    """Which run: what flows and tasks exchange in place of the run itself.

    Attributes:
        run_id: The run's name.
        storage: Folder or URL that holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: RunId = Field(description="The run's name.")
    storage: str = Field(default="runs", description="Folder or URL that holds it.")


def expert_id(skill: str) -> str:
    """Id of the expert of a skill."""
    return f"expert-{skill}"


def regmean_id(skill: str) -> str:
    """Id of an expert's share of RegMean (`cycleqd.experts.regmean`)."""
    return f"regmean-{skill}"


def child_id(generation: int) -> str:
    """Id of the child of a generation."""
    return f"g{generation:04d}"


def expert_key(skill: str, name: str) -> str:
    """Where something of an expert lies: ``model``; summary, source, data, demonstrations as ``.json``; `TRAINING`."""
    return f"experts/{skill}/{name}"


def truncated_key(skill: str, parameter: str) -> str:
    """Where the truncated factors of one matrix lie, until the expert's individual has them."""
    return f"experts/{skill}/truncated/{parameter}.safetensors"


def spectral_key(parameter: str) -> str:
    """Where the experts' changes of one parameter lie, decomposed."""
    return f"spectral/{parameter}.safetensors"


def individual_key(identifier: str) -> str:
    """Where an individual's recipe lies."""
    return f"individuals/{identifier}/individual.json"


def genome_key(identifier: str) -> str:
    """Where an individual's genome lies."""
    return f"individuals/{identifier}/genome.safetensors"


def own_bases_key(identifier: str) -> str:
    """Where the bases lie of an individual that is not made of the experts."""
    return f"individuals/{identifier}/bases.safetensors"


def pruned_key(identifier: str) -> str:
    """Where the tombstone of an individual lies whose genome was pruned."""
    return f"individuals/{identifier}/pruned.json"


def evaluation_key(genome: str, skill: str, part: str) -> str:
    """Where the record of a finished evaluation lies.

    Args:
        genome: Content hash of the weights, or `BASE`.
        skill: The skill.
        part: The split or the part of one.
    """
    return f"evaluations/{genome}/{skill}-{part}.json"


class EvaluationName(NamedTuple):
    """What the key of an evaluation says; see `evaluation_key`."""

    genome: str
    skill: str
    part: str


def evaluation_name(key: str) -> EvaluationName | None:
    """What an evaluation is of, by the key of its record; None for the key of anything else."""
    match = _EVALUATION.fullmatch(key)
    return EvaluationName(*match.groups()) if match else None


def episodes_key(genome: str, skill: str, part: str) -> str:
    """Where the episodes of an evaluation lie; arguments as for `evaluation_key`."""
    return f"evaluations/{genome}/{skill}-{part}.jsonl.gz"


def log_key(individual: str, skill: str, part: str, name: str) -> str:
    """Where a file lies that a skill keeps of an evaluation, such as the log of inspect_ai.

    Args:
        individual: The individual's id, or `BASE`.
        skill: The skill.
        part: The split or the part of one.
        name: The file's own name.
    """
    return f"logs/{individual}/{skill}-{part}/{name}"


def commit_key(generation: int) -> str:
    """Where a generation's commit record lies."""
    return f"generations/{generation:05d}.json"


def archives_key(generation: int) -> str:
    """Where the archives after a generation lie."""
    return f"archives/{generation:05d}.json"


def session_key(started: str) -> str:
    """Where the record of a start lies; `started` is its time in ISO 8601."""
    return f"sessions/{started.replace(':', '')}.json"


def final_key(name: str) -> str:
    """Where a form of the final model lies: ``checkpoint`` or ``adapter``."""
    return f"aggregate/{name}"


def report_key(name: str) -> str:
    """Where a file of the report lies."""
    return f"report/{name}"
