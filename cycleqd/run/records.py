"""What a run writes down: small JSON records, validated when they are read back.

Records hold references (ids, content hashes) and figures, never tensors. `RunStore` knows where each one lives.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from cycleqd.messages import Message, whole_text, whole_texts
from cycleqd.run.seconds import Phases as Phases
from cycleqd.run.seconds import Split as Split
from cycleqd.statistics import Interval, wilson

Text = Annotated[str, BeforeValidator(lambda text: whole_text(text) if isinstance(text, str) else text)]
"""What models and judges wrote. A half of a surrogate pair in it is replaced, it does not fail the record."""


class Record(BaseModel):
    """Base of all records: immutable, every number is finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def why_invalid(error: ValidationError) -> str:
    """What keeps a record from being read, in one line; of an unknown key that a newer version wrote it."""
    unknown = [".".join(map(str, fault["loc"])) for fault in error.errors() if fault["type"] == "extra_forbidden"]
    if unknown:
        return newer_version(unknown)
    first = error.errors()[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}{more}"


def newer_version(unknown: Sequence[str]) -> str:
    """What an object says whose keys include some that this version does not know."""
    keys = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
    return f"this version of cycleqd does not know its key {keys}: a newer version wrote it; update cycleqd"


class Score(Record):
    """A mean over samples with its uncertainty.

    Attributes:
        score: Mean of the samples' scores, in [0, 1].
        n: Number of samples, at least 1.
        se: Standard error of the mean: the samples' standard deviation (population form) over sqrt(n).
    """

    score: float
    n: int
    se: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> Score:
        """Summarises samples' scores.

        Raises:
            ValueError: There are none, or one is outside [0, 1] or NaN.
        """
        if not scores:
            raise ValueError("a score needs at least one sample")
        if not all(0.0 <= score <= 1.0 for score in scores):
            raise ValueError(f"sample scores must be in [0, 1], got {[s for s in scores if not 0.0 <= s <= 1.0][:3]}")
        n = len(scores)
        mean = math.fsum(scores) / n
        variance = math.fsum((score - mean) ** 2 for score in scores) / n
        return cls(score=mean, n=n, se=math.sqrt(variance / n))

    @property
    def interval(self) -> Interval:
        """Of 95 %, by Wilson's formula: right also where all samples scored alike, and `se` is 0."""
        return wilson(self.score, self.n)

    def __str__(self) -> str:
        """For logs: the mean and its interval, e.g. ``0.000 (0.00–0.19)``."""
        low, high = self.interval
        return f"{self.score:.3f} ({low:.2f}–{high:.2f})"


def means(scores: Mapping[str, Score]) -> dict[str, float]:
    """The bare scores by skill, which is what archives take."""
    return {skill: score.score for skill, score in scores.items()}


class SampleScore(Record):
    """The verdict on one episode.

    Attributes:
        id: The sample's id.
        score: In [0, 1].
        reason: The judge's one line.
        turns: Replies the model gave.
        tokens: Tokens it generated.
        extra: Other verdicts by name, in [0, 1], reported beside the score.
    """

    id: Text
    score: float
    reason: Text
    turns: int
    tokens: int
    extra: dict[str, float] = {}


class EpisodeRecord(Record):
    """One whole episode, for reading: a line of ``<skill>-<split>.jsonl.gz``."""

    sample: Text
    template: Text
    score: float
    reason: Text
    messages: Annotated[list[Message], BeforeValidator(whole_texts)]
    asked: Annotated[list[list[Message]] | None, BeforeValidator(whole_texts)] = None
    """What the model was asked, turn by turn, where that is not the growing conversation of `messages`."""


class EvaluationRecord(Record):
    """One individual's evaluation on one skill's split.

    Attributes:
        genome: Content hash of the weights, or ``base``; of an endpoint, its model and host. The key on disk is
            ``identity``, as it always was.
        data_hash: Content hash of the samples.
        data_version: The benchmark's release; empty for a generated suite.
        data_sha256: Of the benchmark's file; empty for a generated suite.
        prompt: ``ours``, or the hash of the instructions that a user put in their place.
        skipped: Samples of the data that were not played.
        max_turns: Replies that a model could give in one episode; None in records of older versions.
        fingerprint: What the scores depend on besides weights and samples, by part
            (`cycleqd.evaluation.fingerprint`); empty in records of versions that kept none.
        seconds: Wall-clock time of the evaluation.
        tokens: Tokens generated in all episodes.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    genome: str = Field(alias="identity")
    skill: str
    split: str
    score: Score
    samples: list[SampleScore]
    data_hash: str
    engine: str
    batching: str
    tokens: int
    seconds: float
    data_version: str = ""
    data_sha256: str = ""
    prompt: str = "ours"
    skipped: int = 0
    max_turns: int | None = None
    fingerprint: dict[str, str] = {}

    @property
    def beside(self) -> dict[str, Score]:
        """Means of the verdicts that the judge gives beside the score, such as MBPP+'s plus tests, by name.

        A name ``whole/part`` is a part of a whole: beside the parts' means there is ``whole``, the mean of the parts,
        of which none counts more than another however many samples it has.
        """
        names = sorted({name for sample in self.samples for name in sample.extra})
        found = {
            name: Score.of([sample.extra[name] for sample in self.samples if name in sample.extra]) for name in names
        }
        for whole in sorted({name.partition("/")[0] for name in names if "/" in name}):
            found[whole] = _mean_of_parts([part for name, part in found.items() if name.startswith(f"{whole}/")])
        return found


def _mean_of_parts(parts: Sequence[Score]) -> Score:
    """The mean of means; the samples of different parts are independent."""
    return Score(
        score=math.fsum(part.score for part in parts) / len(parts),
        n=sum(part.n for part in parts),
        se=math.sqrt(math.fsum(part.se**2 for part in parts)) / len(parts),
    )


def _shown(values: dict[str, Any], **unused: Any) -> dict[str, Any]:
    """A record's values without the newer fields that it has no use for: older records stay what they were."""
    return {name: value for name, value in values.items() if name not in unused or value != unused[name]}


def pack_episodes(episodes: Iterable[EpisodeRecord]) -> bytes:
    """Episodes as compressed JSON lines; the same episodes give the same bytes."""
    return gzip.compress("".join(f"{episode.model_dump_json()}\n" for episode in episodes).encode(), mtime=0)


def unpack_episodes(content: bytes) -> list[EpisodeRecord]:
    """What `pack_episodes` packed."""
    return [EpisodeRecord.model_validate_json(line) for line in gzip.decompress(content).splitlines()]


class IndividualRecord(Record):
    """The recipe of an individual, written with its genome.

    Attributes:
        id: ``expert-<skill>``, ``g0012``, ``average``, ``aggregate``; a baseline's is its method and scale,
            ``tsv-0.85``.
        genome: Content hash of the task vector.
        generation: The generation that made it; None for what is not a child.
        archive: The active skill of that generation.
        parents: Ids of the parents (children), or of the sources (average, baselines, aggregate).
        coefficients: Mixing coefficients, one per parent.
        mutation: The mutation's name and a summary of its draws.
        merge: The merge method's name, ``method``, and its settings; not written where it is the weighted sum.
    """

    id: str
    genome: str
    generation: int | None = None
    archive: str | None = None
    parents: list[str] = []
    coefficients: list[float] = []
    mutation: dict[str, float | int | str] = {}
    merge: dict[str, float | int | str] = {}

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes of weighted sums are what they were before there were other merges, byte for byte.
        return _shown(serialise(self), merge={})


class WonCell(Record):
    """A cell that an individual won.

    Attributes:
        bins: Bin per behaviour characteristic, in the order of the skills without the archive's own.
        displaced: Id of the individual that it replaced, if any.
    """

    bins: list[int]
    displaced: str | None = None


class GenerationRecord(Record):
    """The commit record of one generation: it exists when, and only when, the generation is finished.

    Attributes:
        generation: Number, from 0: how many were committed before.
        individual: Id of the child, or of an individual that the search had scored again.
        scores: Per skill, on `part`.
        part: What the individual met: the optimization split, or a block of it.
        cells: Cells won, per archive; archives that kept their incumbent are absent.
        seconds: Wall-clock time by phase.
        split: The same time, activity by activity; None in records of versions that did not measure it.
        child: Which of the search's children it is, where they are committed as they complete; not written where that
            is the generation's number.
        known: How many generations were committed when the search proposed it; written with `child`.
        load: The share of this machine's processor time that was spent since the commit before, by whatever process;
            None where it was not measured.
    """

    generation: int
    archive: str
    individual: str
    genome: str
    parents: list[str]
    scores: dict[str, Score]
    cells: dict[str, WonCell]
    seconds: Phases
    part: str = "optimization"
    split: Split | None = None
    child: int | None = None
    known: int | None = None
    load: float | None = None

    @property
    def index(self) -> int:
        """Which of the search's children it is."""
        return self.generation if self.child is None else self.child

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As for recipes.
        return _shown(serialise(self), part="optimization", split=None, child=None, known=None, load=None)


class SeedRecord(Record):
    """The commit record of the seeding: the experts' scores, from which the grids follow.

    Attributes:
        experts: Ids in the order in which they were offered to the archives.
        genomes: Content hash of each offered individual's task vector, by id.
        scores: Per id and skill, on `part`.
        part: The optimization split, or its first block.
        baselines: Ids of the merges that were offered after the experts; not written where there are none.
        known: Ids of the merges whose scores a search over coefficients is told; not written where there are none.
    """

    experts: list[str]
    genomes: dict[str, str]
    scores: dict[str, dict[str, Score]]
    part: str = "optimization"
    baselines: list[str] = []
    known: list[str] = []

    @property
    def scored(self) -> list[str]:
        """All ids that have scores here, each once."""
        return list(dict.fromkeys([*self.offered, *self.known]))

    @property
    def offered(self) -> list[str]:
        """All ids in the order in which they were offered."""
        return [*self.experts, *self.baselines]

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As for recipes: what has no use for the field does not show it.
        return _shown(serialise(self), baselines=[], known=[], part="optimization")


class ExportRecord(Record):
    """Says which model lies under ``aggregate/``; written when all of it is there.

    Attributes:
        individual: Id of the final model.
        genome: Content hash of its task vector.
        formats: The folders' names: ``checkpoint``, and ``adapter`` where the model is one.
    """

    individual: str
    genome: str
    formats: list[str]


class SessionRecord(Record):
    """One start of the run, for the time table: a run that was resumed has several.

    Attributes:
        started: ISO 8601 time, UTC.
        seconds: Wall-clock time by phase.
        generations: Generations finished in this session.
        tokens: Tokens generated.
        versions: Package versions that took part.
    """

    started: str
    seconds: Phases
    generations: int
    tokens: int
    versions: dict[str, str]
