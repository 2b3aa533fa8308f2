"""Scoring by acting: one individual plays all samples of a skill's split.

Two ways of batching, same episodes:

* `strict`: live episodes advance in rounds. A round's batch holds exactly the live episodes of this evaluation and of
  those that share its `Rounds`, in the order of skills and samples, so its composition depends on nothing but weights
  and samples: not on timing, not on retries. Scores repeat bit for bit on one kind of processor.
* `throughput`: every episode advances by itself, and all requests that wait share the engine's batch.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from cycleqd.evaluation.rounds import EvaluationStopped, Rounds, Seat
from cycleqd.models.causal_lm.protocol import ChatRequest, Engine, Reply
from cycleqd.run.ledger import Ledger
from cycleqd.run.records import EpisodeRecord, EvaluationRecord, SampleScore, Score
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.parts import Part, samples_of
from cycleqd.skills.protocol import Episode, Message, Sample, Skill, SkillSession, Verdict
from cycleqd.skills.replaying import replaying_session

T = TypeVar("T")


class Evaluation(NamedTuple):
    """A finished evaluation: its record, the episodes to read, and files that the skill wants kept, by name."""

    record: EvaluationRecord
    episodes: list[EpisodeRecord]
    files: Mapping[str, bytes] = MappingProxyType({})


@dataclass(slots=True)
class _Play:
    """One sample's episode while it is being played."""

    sample: Sample
    messages: list[Message]
    start: Future[Episode]
    ledger: Ledger
    turns: int = 0
    tokens: int = 0
    finished: bool = False
    verdict: Verdict | None = None
    episode: Episode | None = field(default=None)

    def request(self, skill: Skill) -> ChatRequest:
        return ChatRequest(self.messages, skill.max_new_tokens, skill.stop)

    def step(self, reply: Reply) -> None:
        """Acts on a reply in the sandbox."""
        if self.episode is None:
            self.episode = self.start.result()
        self.turns += 1
        self.tokens += reply.tokens
        with self.ledger.doing("sandbox"):
            self.finished = self.episode.act(reply.text)
        self.messages = self.episode.messages

    def end(self) -> None:
        """Judges the finished episode and gives back its sandbox."""
        if self.episode is not None:
            with self.ledger.doing("judge"):
                self.verdict = self.episode.judge()
            with self.ledger.doing("sandbox"):
                self.episode.close()


def samples_hash(samples: Sequence[Sample]) -> str:
    """Content hash of samples, which goes into every result."""
    content = [[sample.id, sample.template, dict(sample.data)] for sample in samples]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def evaluate(
    skill: Skill,
    split: Part,
    engine: Engine,
    sandboxes: Sandboxes,
    *,
    batching: Literal["strict", "throughput"],
    live_episodes: int,
    workers: int,
    rounds: Rounds | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
    ledger: Ledger | None = None,
) -> Evaluation:
    """Plays every sample of `split` with the weights that the engine holds.

    Args:
        skill: The skill; its samples are played in its own order.
        split: Which of its splits, or a part of one.
        engine: Has the individual's weights loaded; `engine.loaded` is recorded as their genome.
        sandboxes: Where the episodes act.
        batching: See the module's text.
        live_episodes: Episodes that hold a sandbox at a time, at least 1.
        workers: Episodes that act at a time, at least 1; leaves the engine its share of the cores.
        rounds: Where strict batches are shared with the individual's other skills; None shares with nobody.
        stop: When set, the evaluation ends with `EvaluationStopped` at the next turn.
        progress: Called with the number of finished episodes whenever some finished.
        ledger: Counts where the time goes; None counts for nobody.

    Raises:
        SandboxUnavailable: The machine failed, not a reply (`cycleqd.skills.replaying`). Nothing is scored; the
            evaluation may be retried as a whole.
        RoundBroken: Another evaluation of the same `rounds` failed; as above.
        EvaluationStopped: `stop` was set.
    """
    began = time.monotonic()
    samples = samples_of(skill, split)
    genome = engine.loaded
    stop = stop or threading.Event()
    ledger = ledger or Ledger()
    rounds = rounds or Rounds(engine, (skill.name,), {}, ledger=ledger)
    plays: list[_Play] = []
    with (
        rounds.seat(skill.name, stop) if batching == "strict" else nullcontext() as seat,
        replaying_session(skill, sandboxes) as session,
        ThreadPoolExecutor(workers, thread_name_prefix=skill.name) as pool,
    ):
        session.expect(samples, live_episodes)
        for wave in _waves(samples, live_episodes):
            with _opened(skill, session, wave, pool, ledger) as live:
                if seat is None:
                    _play_freely(live, skill, engine, pool, stop, ledger)
                else:
                    _play_strictly(live, skill, seat, pool, stop, last=len(plays) + len(live) == len(samples))
            plays += live
            if progress:
                progress(len(plays))
        files = session.files()
    seconds = time.monotonic() - began
    verdicts = [_verdict(play) for play in plays]
    record = EvaluationRecord(
        genome=genome,
        skill=skill.name,
        split=split,
        score=Score.of([verdict.score for verdict in verdicts]),
        samples=[
            SampleScore(
                id=play.sample.id,
                score=score,
                reason=reason,
                turns=play.turns,
                tokens=play.tokens,
                extra=dict(extra),
            )
            for play, (score, reason, extra) in zip(plays, verdicts, strict=True)
        ],
        data_hash=samples_hash(samples),
        data_version=skill.origin.version,
        data_sha256=skill.origin.sha256,
        prompt=skill.origin.prompt,
        skipped=len(skill.origin.skipped),
        max_turns=skill.max_turns,
        engine=engine.name,
        batching=batching,
        tokens=sum(play.tokens for play in plays),
        seconds=seconds,
    )
    episodes = [
        EpisodeRecord(
            sample=play.sample.id,
            template=play.sample.template,
            score=score,
            reason=reason,
            messages=play.messages,
            asked=getattr(play.episode, "asked", None),
        )
        for play, (score, reason, _) in zip(plays, verdicts, strict=True)
    ]
    return Evaluation(record, episodes, files)


@contextmanager
def _opened(
    skill: Skill, session: SkillSession, samples: Sequence[Sample], pool: ThreadPoolExecutor, ledger: Ledger
) -> Iterator[list[_Play]]:
    """Starts the episodes' sandboxes in the background (the first replies need none) and closes all in the end."""

    def start(sample: Sample) -> Episode:
        with ledger.doing("sandbox"):
            return session.start(sample)

    plays = [_Play(sample, skill.initial_messages(sample), pool.submit(start, sample), ledger) for sample in samples]
    try:
        yield plays
    finally:
        for play in plays:
            play.start.cancel()
        for play in plays:
            if not play.start.cancelled() and play.start.exception() is None:
                play.start.result().close()


def _waves(items: Sequence[T], live_episodes: int) -> list[Sequence[T]]:
    return [items[first : first + live_episodes] for first in range(0, len(items), live_episodes)]


def requests_of(
    skill: Skill, split: Part, episodes: Sequence[EpisodeRecord], *, live_episodes: int
) -> list[list[ChatRequest]]:
    """What a finished strict evaluation asked, round by round: its part of the batches that it shared.

    Args:
        skill: The skill.
        split: The evaluated split.
        episodes: All its episodes, in the order of the samples.
        live_episodes: As in the evaluation.
    """
    asked: list[list[ChatRequest]] = []
    for wave in _waves(list(zip(samples_of(skill, split), episodes, strict=True)), live_episodes):
        prompts = [len(skill.initial_messages(sample)) for sample, _ in wave]
        live = [_asked_of(episode, size) for (_, episode), size in zip(wave, prompts, strict=True)]
        while live := [turns for turns in live if turns]:
            asked.append([ChatRequest(turns[0], skill.max_new_tokens, skill.stop) for turns in live])
            live = [turns[1:] for turns in live]
    return asked


def _asked_of(episode: EpisodeRecord, prompt: int) -> list[list[Message]]:
    """What an episode asked, turn by turn.

    Args:
        episode: The episode.
        prompt: Messages of its first turn.
    """
    if episode.asked is not None:
        return episode.asked
    return [episode.messages[:size] for size in range(prompt, len(episode.messages), 2)]


def _play_strictly(
    plays: list[_Play], skill: Skill, seat: Seat, pool: ThreadPoolExecutor, stop: threading.Event, *, last: bool
) -> None:
    live, ends = plays, []
    while live:
        _refuse_when(stop)
        replies = seat.chat([play.request(skill) for play in live])
        list(pool.map(_Play.step, live, replies))
        # Verdicts are reached while the next round is generated.
        ends += [pool.submit(play.end) for play in live if play.finished]
        live = [play for play in live if not play.finished]
    if last:
        seat.leave()
    for end in ends:
        end.result()


def _play_freely(
    plays: list[_Play],
    skill: Skill,
    engine: Engine,
    pool: ThreadPoolExecutor,
    stop: threading.Event,
    ledger: Ledger,
) -> None:
    def play_through(play: _Play) -> None:
        while not play.finished:
            _refuse_when(stop)
            with ledger.doing("generate"):  # while anybody waits for a reply, the engine generates
                (reply,) = engine.chat([play.request(skill)])
            pool.submit(play.step, reply).result()
        pool.submit(play.end).result()

    with ThreadPoolExecutor(len(plays), thread_name_prefix=f"{skill.name}-episode") as episodes:
        list(episodes.map(play_through, plays))


def _refuse_when(stop: threading.Event) -> None:
    if stop.is_set():
        raise EvaluationStopped("the run is being stopped")


def _verdict(play: _Play) -> Verdict:
    if play.verdict is None:
        raise RuntimeError(f"episode {play.sample.id} ended without a verdict")
    return play.verdict
