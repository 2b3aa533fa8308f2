"""Episodes that outlive their sandbox, and the reply that is to blame when they can't.

A sandbox may die while it acts on a reply: the reply broke it, a neighbour's reply broke what both share, or the
machine is at fault. Which of them it was shows when the episode's replies are played again, alone, in a session of its
own. If the sandbox dies there too, at the same reply, the episode ends with score 0 and the reason. Otherwise the
episode goes on in the new session, and the model never notices. A session that cannot be opened at all is the
machine's fault: nothing is scored then.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from cycleqd.sandbox import Sandboxes, SandboxUnavailable
from cycleqd.skills.protocol import Announced, Episode, Message, Sample, Skill, SkillSession, Verdict

log = logging.getLogger(__name__)

DIED: Final = "the sandbox died of it, twice: "
"""How the reason of an episode begins that its sandbox did not survive."""
_REPLAYS: Final = 3
"""How often an episode is played again, if it dies at another place each time, before the machine is blamed."""
_REASON_CHARACTERS: Final = 200
_JUDGING: Final = -1
"""Where an episode dies that acted on every reply: while it is judged."""


@contextmanager
def replaying_session(skill: Skill, sandboxes: Sandboxes) -> Iterator[ReplayingSession]:
    """Opens a session whose episodes raise `SandboxUnavailable` only where the machine is at fault.

    Args:
        skill: Whose samples are played.
        sandboxes: Where the episodes act.
    """
    with ExitStack() as opened:
        yield ReplayingSession(skill, sandboxes, opened)


class ReplayingSession:
    """The session that all episodes share; when it dies, the episodes that start later share another."""

    def __init__(self, skill: Skill, sandboxes: Sandboxes, opened: ExitStack) -> None:
        self._skill = skill
        self._sandboxes = sandboxes
        self._opened = opened
        self._lock = threading.Lock()
        self._shared = opened.enter_context(skill.session(sandboxes))
        self.alone = threading.Lock()
        """Held by the one episode that is played again."""

    def expect(self, samples: Sequence[Sample], live: int) -> None:
        """Announces what will be started, where the skill wants to know; see `Announced.expect`."""
        if isinstance(self._shared, Announced):
            self._shared.expect(samples, live)

    def files(self) -> Mapping[str, bytes]:
        """What is to be kept with the evaluation, by name; see `Announced.files`."""
        return self._shared.files() if isinstance(self._shared, Announced) else {}

    def start(self, sample: Sample) -> Episode:
        """Opens an episode; see `SkillSession.start`."""
        shared = self._shared
        try:
            episode = shared.start(sample)
        except SandboxUnavailable:
            # Once: what can't start in a session that was just opened is not the doing of an earlier episode.
            shared = self._other_than(shared)
            episode = shared.start(sample)
        return _ReplayingEpisode(self, shared, episode)

    def _other_than(self, dead: SkillSession) -> SkillSession:
        with self._lock:
            if self._shared is dead:
                self._shared = self._opened.enter_context(self._skill.session(self._sandboxes))
            return self._shared

    def give_up(self, dead: SkillSession) -> None:
        """Lets later episodes start in another session than one in which an episode just died."""
        if isinstance(dead, Announced):
            return
        with contextlib.suppress(SandboxUnavailable):
            self._other_than(dead)

    @contextmanager
    def own(self) -> Iterator[SkillSession]:
        """A session that no other episode shares."""
        with self._skill.session(self._sandboxes) as session:
            yield session


class _ReplayingEpisode:
    """An episode that is played again when its sandbox dies.

    Args:
        session: Where it belongs.
        shared: The session that it was started in.
        episode: The episode in its first sandbox.
    """

    def __init__(self, session: ReplayingSession, shared: SkillSession, episode: Episode) -> None:
        self.sample = episode.sample
        self.messages = episode.messages
        self.failed = episode.failed
        self._session = session
        self._shared: SkillSession | None = shared
        self._episode = episode
        self._own = ExitStack()
        self._replies: list[str] = []
        self._verdict: Verdict | None = None

    @property
    def asked(self) -> list[list[Message]] | None:
        """What was asked, turn by turn, where that is more than one conversation that grows."""
        found: list[list[Message]] | None = getattr(self._episode, "asked", None)
        return found

    def act(self, reply: str) -> bool:
        """Acts on a reply; see `Episode.act`."""
        seen = list(self.messages)
        self._replies.append(reply)
        try:
            finished = self._episode.act(reply)
        except SandboxUnavailable as death:
            finished = self._replay(len(self._replies) - 1, death, seen)
        if self._verdict is None:
            self.messages = self._episode.messages
        else:
            self.messages = [*seen, {"role": "assistant", "content": reply}]
        return finished

    def judge(self) -> Verdict:
        """The verdict; score 0 where the sandbox did not survive the episode."""
        if self._verdict is not None:
            return self._verdict
        try:
            return self._episode.judge()
        except SandboxUnavailable as death:
            seen = list(self.messages)
            self._replay(_JUDGING, death, seen)
            self.messages = seen
            if self._verdict is None:
                raise RuntimeError(f"{self.sample.id} was played again without a verdict") from death
            return self._verdict

    def close(self) -> None:
        """Gives back the sandbox, and the session that was opened for this episode alone."""
        try:
            self._episode.close()
        finally:
            self._own.close()

    def _replay(self, place: int, death: SandboxUnavailable, seen: Sequence[Message]) -> bool:
        """Plays the replies again until the episode is where it died, or dies there again.

        Args:
            place: The reply at which the sandbox died, or `_JUDGING`.
            death: How it died.
            seen: The conversation before that reply, which stays what the model saw.

        Returns:
            Whether the episode is finished.

        Raises:
            SandboxUnavailable: No session could be opened, or the sandbox died at another place each time.
        """
        deaths = {place}
        log.warning("%s: its sandbox died and is tried again alone: %s", self.sample.id, death)
        with contextlib.suppress(SandboxUnavailable):
            self._episode.close()  # before another is opened: both may count against one limit
        if self._shared is not None:
            self._session.give_up(self._shared)
            self._shared = None
        with self._session.alone:
            for _ in range(_REPLAYS):
                self._own.close()
                self._episode = self._own.enter_context(self._session.own()).start(self.sample)
                at, finished = 0, False
                try:
                    for at, reply in enumerate(self._replies):  # noqa: B007 -- where it was when it died
                        finished = self._episode.act(reply)
                    if place == _JUDGING:
                        at = _JUDGING
                        self._verdict = self._episode.judge()
                except SandboxUnavailable as again:
                    death = again
                    if at in deaths:
                        self._verdict = Verdict(0.0, f"{DIED}{death}"[:_REASON_CHARACTERS], self.failed)
                        return True
                    deaths.add(at)
                else:
                    if self.asked is None:
                        self._episode.messages[: len(seen)] = seen
                    return finished
        raise death
