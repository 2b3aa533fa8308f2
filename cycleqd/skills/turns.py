"""Episodes of several turns: replies whose acts are performed until one ends the episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cycleqd.skills.protocol import NOTHING_BESIDE, Message, Sample


class Act(Protocol):
    """What a reply asks for."""

    @property
    def kind(self) -> str:
        """The act."""
        ...

    @property
    def text(self) -> str:
        """What it is about: a script, a statement, an answer."""
        ...


A = TypeVar("A", bound=Act)


class TurnEpisode(Generic[A]):
    """The turns of an episode, without its judge and its sandbox.

    Args:
        sample: The sample.
        messages: The conversation so far.
        turns: Replies that the model may give.
        parse: Reads a reply; None when it is no act, which ends the episode, as in AgentBench.
        performed: The kind of act that is performed; any other ends the episode.
        perform: Performs such an act, given its text, and returns what the model is told of it.
    """

    def __init__(
        self,
        sample: Sample,
        messages: list[Message],
        turns: int,
        *,
        parse: Callable[[str], A | None],
        performed: str,
        perform: Callable[[str], str],
    ) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = NOTHING_BESIDE
        self._turns_left = turns
        self._parse = parse
        self._performed = performed
        self._perform = perform
        self._last: A | None = None

    def act(self, reply: str) -> bool:
        """Performs what the reply asks for; see `Episode.act`."""
        self.messages.append({"role": "assistant", "content": reply})
        self._turns_left -= 1
        self._last = self._parse(reply)
        if self._last is None or self._last.kind != self._performed:
            return True
        seen = self._perform(self._last.text)
        if self._turns_left == 0:
            return True
        self.messages.append({"role": "user", "content": seen})
        return False
