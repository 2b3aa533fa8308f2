"""What a skill is made of: samples, episodes that act in a sandbox, verdicts.

A skill never sees a model: it hands out messages and takes replies. Whoever drives the episodes
(`cycleqd.evaluation.play`, the oracle in `cycleqd.skills.oracle`) carries text between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from cycleqd.messages import Message as Message
from cycleqd.sandbox import Sandboxes

Split = Literal["train", "optimization", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One problem of a skill.

    Attributes:
        id: Unique within the skill and stable, e.g. ``os/count-lines/0012``.
        skill: The skill's name.
        split: The split it belongs to.
        template: The name of the template it was drawn from.
        data: JSON-able facts that only the skill reads (prompt, tests, gold solution, ...).
    """

    id: str
    skill: str
    split: Split
    template: str
    data: Mapping[str, Any]


class Skipped(NamedTuple):
    """A sample of the data that is not played.

    Attributes:
        id: Its id.
        reason: One short line.
    """

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a skill's samples come from; part of every result. The defaults are a generated suite's.

    Attributes:
        version: The benchmark's release; results of different ones are not comparable. Empty: generated here.
        sha256: Of the data file.
        prompt: ``ours``, or the hash of the text that a user put in its place.
        skipped: What the data holds and is not played.
    """

    version: str = ""
    sha256: str = ""
    prompt: str = "ours"
    skipped: tuple[Skipped, ...] = ()


GENERATED: Final = Origin()
"""The origin of every generated suite."""


NOTHING_BESIDE: Final[Mapping[str, float]] = MappingProxyType({})
"""The other verdicts of a skill that has none."""


class Verdict(NamedTuple):
    """The judge's word on one finished episode.

    Attributes:
        score: In [0, 1]; 1 is solved.
        reason: One short line that says why, for logs and transcripts.
        extra: Other verdicts on the same episode by name, in [0, 1], to be reported beside the score.
    """

    score: float
    reason: str
    extra: Mapping[str, float] = NOTHING_BESIDE


class NoReference(LookupError):
    """The data holds no solution of a sample; the text says what is missing. Says nothing against the sample."""


class Episode(Protocol):
    """One attempt at one sample. Not thread-safe; different episodes may run in parallel."""

    sample: Sample
    messages: list[Message]
    """The conversation so far. While the episode is live its last message is the user's."""
    failed: Mapping[str, float]
    """The other verdicts, by name, that stand beside a score of 0 where no judge could be asked."""

    def act(self, reply: str) -> bool:
        """Appends `reply` as the assistant's turn, acts on it in the sandbox, appends the observation.

        Returns:
            True when the episode is finished (answered, or out of turns).

        Raises:
            SandboxUnavailable: The sandbox died. `cycleqd.skills.replaying` finds out whether the reply is at fault.
        """
        ...

    def judge(self) -> Verdict:
        """The verdict. Called once, after the episode finished and before `close`.

        Raises:
            SandboxUnavailable: As `act`.
        """
        ...

    def close(self) -> None:
        """Gives back the sandbox. May be called at any time, more than once."""
        ...


class SkillSession(Protocol):
    """What one evaluation of a skill shares between its episodes (a database server, a runner)."""

    def start(self, sample: Sample) -> Episode:
        """Opens an episode; thread-safe. May block until the pool has a free container.

        Raises:
            SandboxUnavailable: What the episodes share died, or the episode's own sandbox can't be had.
        """
        ...


@runtime_checkable
class Announced(Protocol):
    """A `SkillSession` that is told beforehand what will be started, and that has files to keep.

    Each of its episodes has a sandbox of its own: when one dies, the others go on in this session.
    """

    def expect(self, samples: Sequence[Sample], live: int) -> None:
        """Says which samples will be started, in which order. Called once, before the first `SkillSession.start`.

        Args:
            samples: The samples; each of them is started, or the session is closed.
            live: How many are played at a time.
        """
        ...

    def files(self) -> Mapping[str, bytes]:
        """What is to be kept with the evaluation, by name. Called when all announced samples were judged; blocks."""
        ...


class Skill(Protocol):
    """An ability with a score in [0, 1] measured by acting."""

    name: str
    images: tuple[str, ...]
    """Names of the sandbox images that its episodes may run in; part of the fingerprint of its scores."""
    max_turns: int
    """Replies a model may give in one episode, at least 1."""
    max_new_tokens: int
    """Tokens a model may generate in one reply."""
    stop: tuple[str, ...]
    """Strings that end a reply."""
    origin: Origin
    """Where the samples come from."""

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split, always the same in the same order for the same configuration."""
        ...

    def initial_messages(self, sample: Sample) -> list[Message]:
        """What the model is shown first; the last message is the user's."""
        ...

    def gold_replies(self, sample: Sample) -> list[str]:
        """The replies of an agent that solves the sample, one a turn.

        Raises:
            NoReference: The data does not say how to solve it.
        """
        ...

    def session(self, sandboxes: Sandboxes) -> AbstractContextManager[SkillSession]:
        """Opens what the skill's episodes share; closing it removes it from the Docker engine."""
        ...
